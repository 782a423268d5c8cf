-- Like notification_insert.sql, but skips followers who already have the notification. Locks the new rows only.
insert into notify.notification (recipient_id, published_at, blog_id)
select f.follower_id, $4::timestamptz, $5::bigint
from social.follow f
where f.followee_id = $1::bigint and f.follower_id > $2::bigint and f.follower_id <= $3::bigint
  and f.followed_at <= $4::timestamptz
  and not exists (
    select from blogs.inactive_account i
    where i.id = f.follower_id and i.id > $2::bigint and i.id <= $3::bigint)
order by f.follower_id
on conflict do nothing
