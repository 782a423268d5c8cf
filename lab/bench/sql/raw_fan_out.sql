-- Inserts the rows of a fan-out with one statement and nothing else. Locks the new rows only.
insert into notify.notification (recipient_id, published_at, blog_id)
select f.follower_id, $2::timestamptz, $3::bigint
from social.follow f
where f.followee_id = $1::bigint and f.followed_at <= $2::timestamptz
order by f.follower_id
