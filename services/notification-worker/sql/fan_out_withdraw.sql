-- Withdraws a fan-out while followers may not be notified of the blog. Locks that row.
update notify.fan_out
set state = 'withdrawn'
where blog_id = $1::bigint and state = 'running'
