-- Marks the late events of an envelope as held by the ledger. Returns their kinds and the times they were parked. Locks
-- their rows in key order before the update.
with late as materialized (
  select p.envelope_id, p.index
  from analytics.parked p
  where p.envelope_id = $1::uuid and p.index >= 0 and not p.in_ledger and p.redriven_at is null
  order by p.index
  for no key update)
update analytics.parked as p
set in_ledger = true
from late
where p.envelope_id = late.envelope_id and p.index = late.index
returning p.kind, p.first_seen_at
