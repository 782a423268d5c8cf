-- Creates a follow of an active account; no row if the follow exists or there is no such account. Locks the new
-- row, then the counters of both accounts in the order of their ids.
insert into social.follow (followee_id, follower_id)
select a.id, $2::bigint
from blogs.active_account a
where a.id = $1::bigint
on conflict (followee_id, follower_id) do nothing
