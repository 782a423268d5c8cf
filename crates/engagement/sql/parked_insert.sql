-- Parks events, each once. If an event that was parked as late arrives again and the ledger can now hold it, its row is
-- marked as held by the ledger. Locks the rows in key order.
insert into analytics.parked as old
  (envelope_id, index, kind, reason, sqlstate, body, traceparent, in_ledger, attempts, key, unfit)
select distinct on (p.envelope_id, p.index)
       p.envelope_id, p.index, p.kind, p.reason, p.sqlstate, p.body, p.traceparent, p.in_ledger, p.attempts,
       p.key, p.unfit
from unnest($1::uuid[], $2::integer[], $3::text[], $4::text[], $5::text[], $6::bytea[], $7::text[], $8::boolean[],
            $9::integer[], $10::uuid[], $11::boolean[])
  as p (envelope_id, index, kind, reason, sqlstate, body, traceparent, in_ledger, attempts, key, unfit)
order by p.envelope_id, p.index
on conflict (envelope_id, index) do update
set in_ledger = true, reason = excluded.reason, sqlstate = excluded.sqlstate, redriven_at = null
where excluded.in_ledger and not old.in_ledger
