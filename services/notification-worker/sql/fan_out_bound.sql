-- Returns the number of followers in the next chunk, and the last of them. Locks nothing.
select count(*) as followers, max(next.follower_id) as last_id
from (
  select f.follower_id
  from social.follow f
  where f.followee_id = $1::bigint and f.follower_id > $2::bigint
  order by f.follower_id
  limit $3::bigint) as next
