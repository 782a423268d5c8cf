-- Returns a page of live blogs with a tag by popularity. The tag is given by id, so that the planner knows how many blogs
-- have it: for a common tag it walks the most popular blogs, for a rare one it sorts its blogs. Locks nothing.
select page.id, page.rank
from (
  select p.blog_id as id, p.rank
  from blogs.blog_tag bt
  join analytics.blog_popularity p on p.blog_id = bt.blog_id
  where bt.tag_id = $4::bigint and p.span = 'day' and p.version = analytics.popularity_version()
    and (p.rank, p.blog_id) < ($1::double precision, $2::bigint)
    and (select true from blogs.live_blog l where l.id = p.blog_id)
  order by p.rank desc, p.blog_id desc
  limit 101) page
order by page.rank desc, page.id desc
limit $3::bigint
