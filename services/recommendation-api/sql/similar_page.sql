-- Returns a page of $4 blogs that the likers of blog $1 like, nearest first, after score $2 and blog $3. Popular blogs
-- that share a tag fill it up; their scores are below 0. Locks nothing.
with near as (
  select e.neighbour_id as blog_id, e.similarity::double precision as score
  from recommend.neighbour n
  cross join lateral unnest(n.neighbour_ids, n.similarities) as e (neighbour_id, similarity)
  where n.generation = (select p.generation from recommend.progress p) and n.blog_id = $1::bigint),
popular as materialized (
  select p.blog_id, row_number() over (order by p.rank desc, p.blog_id desc)::double precision as place
  from analytics.blog_popularity p
  where p.span = 'week' and p.version = analytics.popularity_version()
  order by p.rank desc, p.blog_id desc
  limit 300),
candidate as (
  select n.blog_id, n.score, 'liked_together' as reason from near n
  union all
  select p.blog_id, -p.place, 'tag'
  from popular p
  where p.blog_id not in (select n.blog_id from near n)
    and exists (
      select from blogs.blog_tag bt join blogs.blog_tag own on own.tag_id = bt.tag_id
      where bt.blog_id = p.blog_id and own.blog_id = $1::bigint))
select page.blog_id, page.score, page.reason
from (
  select c.blog_id, c.score, c.reason
  from candidate c
  where (c.score, c.blog_id) < ($2::double precision, $3::bigint) and c.blog_id <> $1::bigint
  order by c.score desc, c.blog_id desc
  offset 0) page
where (select true from blogs.live_blog l where l.id = page.blog_id)
order by page.score desc, page.blog_id desc
limit $4::bigint
