-- Recommendations count transactions of this server from now on, and everything is computed once more: numbers of another
-- server's transactions say nothing here. Locks the row of progress.
update recommend.progress
set applied_xid = pg_catalog.pg_snapshot_xmin(pg_catalog.pg_current_snapshot())::text::bigint,
    wanted_since = pg_catalog.now(), next_xid = null, next_after_id = null, next_began_at = null
