-- Stops a fan-out through its owner until it is resumed. Locks that fan-out.
select notify.pause_fan_out($1::bigint) as has_changed
