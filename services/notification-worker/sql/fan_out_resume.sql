-- Resumes a withdrawn fan-out when followers may be notified of the blog again. Locks that row.
update notify.fan_out
set state = 'running', turn_at = clock_timestamp()
where blog_id = $1::bigint and state = 'withdrawn'
