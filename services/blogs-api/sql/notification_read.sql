-- Marks an account's notifications of these blogs as read. Locks those notifications in key order.
with unread as materialized (
  select n.published_at, n.blog_id
  from notify.fan_out f
  join notify.notification n
    on n.recipient_id = $1::bigint and n.published_at = f.published_at and n.blog_id = f.blog_id
  where f.blog_id = any ($2::bigint[]) and n.read_at is null
  order by n.published_at, n.blog_id
  for no key update of n)
update notify.notification n
set read_at = now()
from unread u
where n.recipient_id = $1::bigint and n.published_at = u.published_at and n.blog_id = u.blog_id and n.read_at is null
