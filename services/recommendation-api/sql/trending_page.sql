-- Returns a page of $4 live blogs by popularity in span $1, highest first, after rank $2 and blog $3. Locks nothing.
select page.blog_id, page.rank,
       analytics.popularity_at(page.rank, now(), analytics.half_life($1::text)) as popularity
from (
  select p.blog_id, p.rank
  from analytics.blog_popularity p
  where p.span = $1::text and p.version = analytics.popularity_version()
    and (p.rank, p.blog_id) < ($2::double precision, $3::bigint)
    and (select true from blogs.live_blog l where l.id = p.blog_id)
  order by p.rank desc, p.blog_id desc
  limit 101) page
order by page.rank desc, page.blog_id desc
limit $4::bigint
