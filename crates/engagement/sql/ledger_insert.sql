-- Marks envelopes as applied and returns the ids that were not. Locks the new rows in key order; waits for whoever
-- is inserting the same id.
insert into analytics.envelope_ledger (day, id, n)
select e.day, e.id, e.n
from unnest($1::date[], $2::uuid[], $3::integer[]) as e (day, id, n)
order by e.day, e.id
on conflict (day, id) do nothing
returning id
