-- Returns a page of $4 blogs for account $1, best first, after score $2 and blog $3. It never includes the account's
-- own blogs, blogs that it likes, or blogs that readers cannot see. Four sources contribute, each with a score and a
-- reason: neighbours of liked blogs, where the weight of a like halves with every three newer likes (below 3); new
-- blogs of followed accounts (below 2); popular blogs that share a tag with blogs that the account likes or wrote or
-- that followed accounts wrote (from 0.5 to below 1); popular blogs (below 0.5). A blog's score is the sum. Candidates
-- are sorted first and then checked one by one until the page is full. Locks nothing.
with liked as materialized (
  select l.blog_id,
         power(2::double precision, (1 - row_number() over (order by l.version_us desc, l.blog_id desc)) / 3::double precision)
           as weight
  from analytics.blog_like l
  where l.account_id = $1::bigint and l.liked
  order by l.version_us desc, l.blog_id desc
  limit 50),
near as (
  select e.neighbour_id as blog_id, sum(e.similarity * l.weight)::double precision as similarity,
         (array_agg(n.blog_id order by e.similarity * l.weight desc, n.blog_id))[1] as because_of
  from liked l
  join recommend.neighbour n
    on n.generation = (select p.generation from recommend.progress p) and n.blog_id = l.blog_id
  cross join lateral unnest(n.neighbour_ids, n.similarities) as e (neighbour_id, similarity)
  group by e.neighbour_id),
followed as (
  select b.id as blog_id, extract(epoch from now() - b.published_at)::double precision as age_s
  from (select f.followee_id from social.follow f
        where f.follower_id = $1::bigint order by f.followee_id limit 100) f
  cross join lateral (
    select l.id, l.published_at
    from blogs.live_blog l
    where l.author_id = f.followee_id
    order by l.published_at desc, l.id desc
    limit 3) b),
written as (
  select l.id as blog_id
  from blogs.live_blog l
  where l.author_id = $1::bigint
  order by l.published_at desc, l.id desc
  limit 20),
popular as materialized (
  select p.blog_id, row_number() over (order by p.rank desc, p.blog_id desc)::double precision as place
  from analytics.blog_popularity p
  where p.span = 'week' and p.version = analytics.popularity_version()
  order by p.rank desc, p.blog_id desc
  limit 300),
tag as materialized (
  select bt.tag_id
  from (select l.blog_id from liked l union select f.blog_id from followed f union select w.blog_id from written w) source
  join blogs.blog_tag bt on bt.blog_id = source.blog_id
  group by bt.tag_id
  order by count(*) desc, bt.tag_id
  limit 5),
candidate as (
  select n.blog_id, 3 * n.similarity / (n.similarity + 1) as score, 'liked_together' as reason, n.because_of from near n
  union all
  select f.blog_id, 2 / (1 + greatest(f.age_s, 0) / 604800), 'followed', null from followed f
  union all
  select p.blog_id, 1 - 0.5 * p.place / 301, 'tag', null
  from popular p
  where exists (select from blogs.blog_tag bt join tag t on t.tag_id = bt.tag_id where bt.blog_id = p.blog_id)
  union all
  select p.blog_id, 0.5 - 0.5 * p.place / 301, 'popular', null from popular p),
scored as (
  select c.blog_id, sum(c.score) as score,
         (array_agg(c.reason order by c.score desc, c.reason))[1] as reason, max(c.because_of) as because_of
  from candidate c
  group by c.blog_id)
select page.blog_id, page.score, page.reason,
       case when page.reason = 'liked_together' then page.because_of end as because_of
from (
  select s.blog_id, s.score, s.reason, s.because_of
  from scored s
  where (s.score, s.blog_id) < ($2::double precision, $3::bigint)
  order by s.score desc, s.blog_id desc
  offset 0) page
where (select l.author_id <> $1::bigint from blogs.live_blog l where l.id = page.blog_id)
  and not exists (
    select from analytics.blog_like l
    where l.blog_id = page.blog_id and l.account_id = $1::bigint and l.liked)
order by page.score desc, page.blog_id desc
limit $4::bigint
