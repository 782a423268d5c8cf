-- Advances every sequence of this database by $1 steps beyond its last known value, so that it does not reuse the id of a lost
-- row. Fails if a sequence has no such value left. Locks each sequence.
select s.schemaname || '.' || s.sequencename as sequence,
       pg_catalog.setval(pg_catalog.format('%I.%I', s.schemaname, s.sequencename)::regclass,
                         coalesce(s.last_value, s.start_value) + $1::bigint * s.increment_by) as last_value
from pg_catalog.pg_sequences s
order by 1
