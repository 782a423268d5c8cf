-- The ledger day of each of these envelopes whose id is far in the future. Locks nothing.
select id, day
from analytics.envelope_ahead
where id = any($1::uuid[])
