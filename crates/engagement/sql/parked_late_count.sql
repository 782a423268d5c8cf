-- Counts an envelope's parked events that the ledger does not hold. Locks nothing.
select count(*)::integer as late
from analytics.parked p
where p.envelope_id = $1::uuid and p.index >= 0 and not p.in_ledger and p.redriven_at is null
