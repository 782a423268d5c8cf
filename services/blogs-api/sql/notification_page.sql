-- Returns a page of an account's notifications of live blogs, newest first. The time condition appears twice so that
-- partitions that cannot match are not read. Locks nothing.
select page.blog_id, page.published_at, page.read_at, s.slug, b.title, a.id as author_id, a.handle as author_handle
from (
  select n.blog_id, n.published_at, n.read_at
  from notify.notification n
  where n.recipient_id = $1::bigint and n.published_at <= $2::timestamptz
    and (n.published_at, n.blog_id) < ($2::timestamptz, $3::bigint)
    and (select true from blogs.live_blog l where l.id = n.blog_id)
  order by n.published_at desc, n.blog_id desc
  limit $4::bigint) page
join blogs.blog b on b.id = page.blog_id
join blogs.account a on a.id = b.author_id
join blogs.blog_slug s on s.blog_id = b.id and s.is_current
order by page.published_at desc, page.blog_id desc
