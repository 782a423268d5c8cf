-- What was taken in during the newest $1 minutes that took anything in, how much of it is parked, and how many events,
-- counted up to $2, were parked since one last was not. Parked events that were redriven or given up do not count.
-- Locks nothing.
with newest as (
  select i.minute, sum(i.events) as events
  from analytics.intake i
  group by i.minute
  order by i.minute desc
  limit $1::bigint)
select
  coalesce((select sum(n.events) from newest n), 0)::bigint as events,
  (select count(*) from analytics.parked p
   where p.redriven_at is null and p.dropped_at is null
     and p.first_seen_at >= (select min(n.minute) from newest n)) as parked,
  (select count(*) from (
     select from analytics.parked p
     where p.redriven_at is null and p.dropped_at is null
       and p.first_seen_at > coalesce((select max(i.good_at) from analytics.intake i), '-infinity')
     limit $2::bigint) as since) as in_a_row
