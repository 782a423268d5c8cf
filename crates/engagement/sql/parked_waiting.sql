-- Reads a parked event that still waits. Locks nothing: the statement that marks it later checks that it still waits.
select p.kind, p.first_seen_at, p.body, p.traceparent, p.in_ledger, p.key
from analytics.parked p
where p.envelope_id = $1::uuid and p.index = $2::integer and p.redriven_at is null and p.dropped_at is null
