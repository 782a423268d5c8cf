-- Marks a parked event as redriven if it still waits unchanged. Locks its row.
update analytics.parked
set redriven_at = now(), attempts = attempts + 1
where envelope_id = $1::uuid and index = $2::integer and in_ledger = $3::boolean
  and redriven_at is null and dropped_at is null
