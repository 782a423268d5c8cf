-- Marks envelopes as applied. Returns the new ids and the time of this transaction. An id that is far in the future is held
-- under the day on which it first arrived. Locks the new rows in key order; waits for a transaction that is inserting the
-- same id.
insert into analytics.envelope_ledger (day, id, n)
select coalesce(a.day, e.day), e.id, e.n
from unnest($1::date[], $2::uuid[], $3::integer[]) as e (day, id, n)
left join analytics.envelope_ahead a on a.id = e.id
order by coalesce(a.day, e.day), e.id
on conflict (day, id) do nothing
returning id, now() as now
