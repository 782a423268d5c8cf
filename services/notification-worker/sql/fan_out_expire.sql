-- Cancels a fan-out whose notifications would be older than the retention period. Locks that row.
update notify.fan_out
set state = 'cancelled', ended_at = clock_timestamp()
where blog_id = $1::bigint and state = 'running'
