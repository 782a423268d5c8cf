-- Resumes a fan-out through its owner. Locks that fan-out.
select notify.resume_fan_out($1::bigint) as has_changed
