-- Marks an account's notifications as read, at most $2 at a time. Locks those in key order.
with unread as materialized (
  select n.published_at, n.blog_id
  from notify.notification n
  where n.recipient_id = $1::bigint and n.read_at is null
  order by n.published_at, n.blog_id
  limit $2::bigint
  for no key update)
update notify.notification n
set read_at = now()
from unread u
where n.recipient_id = $1::bigint and n.published_at = u.published_at and n.blog_id = u.blog_id and n.read_at is null
