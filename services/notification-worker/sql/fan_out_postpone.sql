-- Puts a fan-out whose chunk failed at the end of the queue, so that others do not wait for it. Locks that row.
update notify.fan_out
set turn_at = clock_timestamp()
where blog_id = $1::bigint and state = 'running'
