-- Returns how many events were taken in during the newest $1 minutes with any events, how many of them are parked, and
-- the current run of consecutively parked events, counted up to $2. Rejected and unfit events are counted separately.
-- Parked events that were redriven or dropped do not count. Locks nothing.
with newest as (
  select i.minute, sum(i.events) as events
  from analytics.intake i
  group by i.minute
  order by i.minute desc
  limit $1::bigint),
lately as (
  select count(*) filter (where not p.unfit) as refused, count(*) filter (where p.unfit) as unfit
  from analytics.parked p
  where p.redriven_at is null and p.dropped_at is null
    and p.first_seen_at >= (select min(n.minute) from newest n)),
good as (
  select coalesce((select max(i.good_at) from analytics.intake i), '-infinity') as at)
select
  coalesce((select sum(n.events) from newest n), 0)::bigint as events,
  l.refused, l.unfit,
  (select count(*) from (
     select from analytics.parked p
     where p.redriven_at is null and p.dropped_at is null and not p.unfit
       and p.first_seen_at > (select g.at from good g)
     limit $2::bigint) as since) as refused_in_a_row,
  (select count(*) from (
     select from analytics.parked p
     where p.redriven_at is null and p.dropped_at is null and p.unfit
       and p.first_seen_at > (select g.at from good g)
     limit $2::bigint) as since) as unfit_in_a_row
from lately l
