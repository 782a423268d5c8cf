-- Resumes a withdrawn fan-out whose followers may be notified again. Locks that row.
update notify.fan_out
set state = 'running', turn_at = clock_timestamp()
where blog_id = $1::bigint and state = 'withdrawn'
