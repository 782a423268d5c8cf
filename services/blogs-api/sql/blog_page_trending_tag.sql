-- The same of those with a tag. The tag is a number, so that plans know how many blogs have it: many, and walking the most
-- popular is short; few, and they are sorted. Locks nothing.
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
