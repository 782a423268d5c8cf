-- A fan-out ends for now, since readers do not see its blog. Locks that row.
update notify.fan_out
set state = 'withdrawn'
where blog_id = $1::bigint and state = 'running'
