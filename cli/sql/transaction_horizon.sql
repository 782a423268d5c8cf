-- The lowest id of a transaction that is still open, in any database of the cluster. Locks nothing.
select pg_catalog.pg_snapshot_xmin(pg_catalog.pg_current_snapshot())::text::bigint as oldest
