-- Likes of accounts $1 and blogs $2 at times $3 (µs), with the counters of the blogs. Locks the rows that it makes.
with put as (
  insert into analytics.blog_like (blog_id, account_id, liked, version_us, version_id)
  select l.blog_id, l.account_id, true, l.at_us, gen_random_uuid()
  from unnest($1::bigint[], $2::bigint[], $3::bigint[]) as l (account_id, blog_id, at_us)
  returning blog_id),
counted as (
  select p.blog_id, count(*) as likes from put p group by p.blog_id)
update blogs.blog_counter c set total_likes = c.total_likes + counted.likes from counted where counted.blog_id = c.blog_id
