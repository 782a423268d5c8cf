-- Puts a fan-out at the end of the line, whose chunk could not be taken: others do not wait for it. Locks that row.
update notify.fan_out
set turn_at = clock_timestamp()
where blog_id = $1::bigint and state = 'running'
