-- Returns the number of running fan-outs, the number of followers they have yet to process, and how long the one that has
-- waited longest has been waiting for its next chunk. Locks nothing.
select
  count(*) as fan_outs,
  coalesce(sum(greatest(f.total - f.looked_at, 0)), 0)::bigint as followers,
  greatest(extract(epoch from clock_timestamp() - min(f.turn_at)), 0)::double precision as wait_s
from notify.fan_out f
where f.state = 'running'
