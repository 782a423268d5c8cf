-- Switches readers to the completed generation; what has changed since its beginning is learnt next. Locks the progress
-- row.
update recommend.progress
set generation = generation + 1, applied_xid = next_xid, as_of = next_began_at, built_at = now(),
    wanted_since = case when wanted_since > next_began_at then wanted_since end,
    next_xid = null, next_after_id = null, next_began_at = null
