-- How many fan-outs are running, how many followers they have still to look at, and how long the one that has waited longest
-- has waited for its next chunk. Locks nothing.
select
  count(*) as fan_outs,
  coalesce(sum(greatest(f.total - f.looked_at, 0)), 0)::bigint as followers,
  greatest(extract(epoch from clock_timestamp() - min(f.turn_at)), 0)::double precision as wait_s
from notify.fan_out f
where f.state = 'running'
