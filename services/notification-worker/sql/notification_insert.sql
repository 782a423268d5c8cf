-- Tells of a blog whoever follows its author since before it was published, from one follower to another, in the order of
-- the key. Somebody who was told before violates the primary key. Locks the new rows only.
insert into notify.notification (recipient_id, published_at, blog_id)
select f.follower_id, $4::timestamptz, $5::bigint
from social.follow f
join blogs.active_account a on a.id = f.follower_id
where f.followee_id = $1::bigint and f.follower_id > $2::bigint and f.follower_id <= $3::bigint
  and a.id > $2::bigint and a.id <= $3::bigint
  and f.followed_at <= $4::timestamptz
order by f.follower_id
