-- The days under which the ledger holds those of these envelopes whose ids come from far ahead. Locks nothing.
select id, day
from analytics.envelope_ahead
where id = any($1::uuid[])
