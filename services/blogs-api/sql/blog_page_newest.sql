-- Returns a page of live blogs, newest first. The view live_blog decides which blogs are live; the conditions before it
-- only name the index to walk. A scalar subquery checks the view for each blog, which keeps the walk ordered and short.
-- The limit of 101 is the largest page plus one row, which shows whether there are more. Locks nothing.
select page.id, page.published_at
from (
  select b.id, b.published_at
  from blogs.blog b
  where b.deleted_at is null and b.published_at is not null
    and (b.published_at, b.id) < ($1::timestamptz, $2::bigint)
    and (select true from blogs.live_blog l where l.id = b.id)
  order by b.published_at desc, b.id desc
  limit 101) page
order by page.published_at desc, page.id desc
limit $3::bigint
