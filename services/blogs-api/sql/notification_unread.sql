-- Counts an account's unread notifications of live blogs, up to $2. Locks nothing.
select count(*) as unread
from (
  select
  from notify.notification n
  where n.recipient_id = $1::bigint and n.read_at is null
    and (select true from blogs.live_blog l where l.id = n.blog_id)
  limit $2::bigint) as counted
