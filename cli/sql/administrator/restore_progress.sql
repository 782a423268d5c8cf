-- Starts the recommendations' progress from this server's transaction numbers and requests a rebuild: another server's numbers
-- mean nothing here. Locks the row of progress.
update recommend.progress
set applied_xid = pg_catalog.pg_snapshot_xmin(pg_catalog.pg_current_snapshot())::text::bigint,
    wanted_since = pg_catalog.now(), next_xid = null, next_after_id = null, next_began_at = null
