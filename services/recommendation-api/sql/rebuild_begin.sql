-- Begins the next generation: what is changed from transaction $1 on is learnt again when it is shown. Locks the row of
-- progress.
update recommend.progress
set next_xid = $1::bigint, next_after_id = 0, next_began_at = clock_timestamp()
