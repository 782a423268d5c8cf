-- How many events of an envelope are parked of which the ledger knows nothing. Locks nothing.
select count(*)::integer as late
from analytics.parked p
where p.envelope_id = $1::uuid and p.index >= 0 and not p.in_ledger and p.redriven_at is null
