-- The next page of followers for the middleman's GET: the same accounts that a fan-out notifies. Locks nothing.
select f.follower_id
from social.follow f
where f.followee_id = $1::bigint and f.follower_id > $2::bigint and f.followed_at <= $3::timestamptz
  and not exists (select from blogs.inactive_account i where i.id = f.follower_id and i.id > $2::bigint)
order by f.follower_id
limit $4::bigint
