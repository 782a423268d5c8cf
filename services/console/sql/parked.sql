-- Returns the parked events that need attention, by reason; reads only the newest $1 of them. Locks nothing.
with waiting as (
  select p.kind, p.reason, p.sqlstate, p.first_seen_at
  from analytics.parked p
  where analytics.is_waiting(p.redriven_at, p.dropped_at)
  order by p.first_seen_at desc
  limit $1::bigint)
select w.kind, w.reason, w.sqlstate, count(*) as events, max(w.first_seen_at) as newest_at,
       sum(count(*)) over ()::bigint as looked_at
from waiting w
group by w.kind, w.reason, w.sqlstate
order by events desc, w.reason
limit 8
