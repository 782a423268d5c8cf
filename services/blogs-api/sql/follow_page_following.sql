-- Returns a page of the accounts that an account follows, ordered by id; built like follow_page_followers.sql. Locks
-- nothing.
select a.id, a.handle
from (
  select f.followee_id as id
  from social.follow f
  where f.follower_id = $1::bigint and f.followee_id > $2::bigint
    and (select true from blogs.active_account active where active.id = f.followee_id)
  order by f.followee_id
  limit $3::bigint) page
join blogs.account a on a.id = page.id
order by a.id
