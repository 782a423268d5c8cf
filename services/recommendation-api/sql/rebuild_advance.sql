-- The generation that is being made has got to blog $1. Locks the row of progress.
update recommend.progress set next_after_id = $1::bigint
