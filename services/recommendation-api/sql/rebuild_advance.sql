-- Records that the running rebuild has processed blogs up to $1. Locks the progress row.
update recommend.progress set next_after_id = $1::bigint
