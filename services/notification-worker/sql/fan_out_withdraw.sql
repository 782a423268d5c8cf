-- Ends a fan-out for now: its followers may not be told of the blog. Locks that row.
update notify.fan_out
set state = 'withdrawn'
where blog_id = $1::bigint and state = 'running'
