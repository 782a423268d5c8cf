-- Creates the partitions that running fan-outs write to; returns 'there', 'outside' or 'busy' for each. Locks the parent
-- against other DDL only.
select notify.create_day(wanted.day) as made
from (
  select distinct (f.published_at at time zone 'utc')::date as day
  from notify.fan_out f
  where f.state = 'running') as wanted
order by wanted.day
