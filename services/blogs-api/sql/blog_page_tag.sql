-- Returns a page of live blogs with a tag, newest first; built like blog_page_newest.sql. The tag is given by id, so
-- that the planner knows how many blogs have it: for a common tag it walks the newest blogs, for a rare one it sorts
-- its blogs. Locks nothing.
select page.id, page.published_at
from (
  select b.id, b.published_at
  from blogs.blog_tag bt
  join blogs.blog b on b.id = bt.blog_id
  where bt.tag_id = $4::bigint and b.deleted_at is null and b.published_at is not null
    and (b.published_at, b.id) < ($1::timestamptz, $2::bigint)
    and (select true from blogs.live_blog l where l.id = b.id)
  order by b.published_at desc, b.id desc
  limit 101) page
order by page.published_at desc, page.id desc
limit $3::bigint
