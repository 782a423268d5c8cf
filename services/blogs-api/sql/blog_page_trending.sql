-- Returns a page of live blogs by the day's popularity, highest first; built like blog_page_newest.sql. Locks nothing.
select page.id, page.rank
from (
  select p.blog_id as id, p.rank
  from analytics.blog_popularity p
  where p.span = 'day' and p.version = analytics.popularity_version()
    and (p.rank, p.blog_id) < ($1::double precision, $2::bigint)
    and (select true from blogs.live_blog l where l.id = p.blog_id)
  order by p.rank desc, p.blog_id desc
  limit 101) page
order by page.rank desc, page.id desc
limit $3::bigint
