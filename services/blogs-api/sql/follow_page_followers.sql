-- Returns a page of an account's followers, ordered by id. A scalar subquery checks active_account for each, so that the
-- walk along the key stays ordered and short. Locks nothing.
select a.id, a.handle
from (
  select f.follower_id as id
  from social.follow f
  where f.followee_id = $1::bigint and f.follower_id > $2::bigint
    and (select true from blogs.active_account active where active.id = f.follower_id)
  order by f.follower_id
  limit $3::bigint) page
join blogs.account a on a.id = page.id
order by a.id
