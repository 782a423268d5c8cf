-- As notification_insert.sql, where somebody was told before: they stay as they are. Locks the new rows only.
insert into notify.notification (recipient_id, published_at, blog_id)
select f.follower_id, $4::timestamptz, $5::bigint
from social.follow f
join blogs.active_account a on a.id = f.follower_id
where f.followee_id = $1::bigint and f.follower_id > $2::bigint and f.follower_id <= $3::bigint
  and a.id > $2::bigint and a.id <= $3::bigint
  and f.followed_at <= $4::timestamptz
order by f.follower_id
on conflict do nothing
