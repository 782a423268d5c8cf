-- Ends a fan-out for good through its owner. Locks that fan-out.
select notify.cancel_fan_out($1::bigint) as has_changed
