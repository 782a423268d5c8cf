-- The oldest transaction that is still open, and the next to begin. Locks nothing.
select pg_catalog.pg_snapshot_xmin(now.snapshot)::text::bigint as oldest,
       pg_catalog.pg_snapshot_xmax(now.snapshot)::text::bigint as next
from (select pg_catalog.pg_current_snapshot() as snapshot) as now
