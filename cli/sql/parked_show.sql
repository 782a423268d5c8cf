-- A parked event with all its columns, in any state. Locks nothing.
select p.envelope_id, p.index, p.kind, p.reason, p.sqlstate, p.in_ledger, p.attempts, p.first_seen_at, p.redriven_at,
       p.dropped_at, octet_length(p.body) as body_bytes, p.traceparent, p.body
from analytics.parked p
where p.envelope_id = $1::uuid and p.index = $2::integer
