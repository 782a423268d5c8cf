-- Everything below transaction $1 is learnt; and that is all there is, if $2. Locks the row of progress.
update recommend.progress
set applied_xid = $1::bigint, as_of = case when $2::boolean then now() else as_of end
