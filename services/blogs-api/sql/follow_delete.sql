-- Deletes a follow; no row if there is none. Locks that row, then the counters of both accounts in the order of their
-- ids.
delete from social.follow
where followee_id = $1::bigint and follower_id = $2::bigint
