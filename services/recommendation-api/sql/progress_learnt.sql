-- Records that everything below transaction $1 is learnt; if $2, nothing newer is left. Locks the progress row.
update recommend.progress
set applied_xid = $1::bigint, as_of = case when $2::boolean then now() else as_of end
