-- Records why a parked event was refused again, if it still waits. Locks its row.
update analytics.parked
set attempts = attempts + 1, reason = $3::text, sqlstate = $4::text
where envelope_id = $1::uuid and index = $2::integer and redriven_at is null and dropped_at is null
