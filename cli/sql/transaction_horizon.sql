-- The lowest id of an open transaction, in any database of the cluster. Locks nothing.
select pg_catalog.pg_snapshot_xmin(pg_catalog.pg_current_snapshot())::text::bigint as oldest
