-- How many fan-outs are running and how many followers they have still to look at. Locks nothing.
select count(*) as fan_outs, coalesce(sum(greatest(f.total - f.looked_at, 0)), 0)::bigint as followers
from notify.fan_out f
where f.state = 'running'
