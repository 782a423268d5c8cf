-- A fan-out ends for good, whose notifications would be older than any that is kept. Locks that row.
update notify.fan_out
set state = 'cancelled', ended_at = clock_timestamp()
where blog_id = $1::bigint and state = 'running'
