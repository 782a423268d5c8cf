-- Begins the next generation. Changes from transaction $1 on are learnt again once readers are shown it. Locks the
-- progress row.
update recommend.progress
set next_xid = $1::bigint, next_after_id = 0, next_began_at = clock_timestamp()
