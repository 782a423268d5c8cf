-- Makes $2 authors whom account $1 follows, each with $3 blogs of the last three days and some hours of engagement. The blogs
-- have no first publication, so that no follower is notified. Locks the rows that it makes, and the counters of follows.
with author as (
  insert into blogs.account (handle, email, password_hash)
  select format('d%s-%s', $1::bigint, n), format('d%s-%s@example.org', $1::bigint, n), 'no password'
  from generate_series(1, $2::integer) as n
  order by n
  returning id
), blog as (
  insert into blogs.blog (author_id, title, body, published_at)
  select author.id, format('Blog %s of %s', n, author.id), 'To be listed.', now() - n * interval '1 day'
  from author cross join generate_series(1, least($3::integer, 3)) as n
  returning id
), slug as (
  insert into blogs.blog_slug (slug, blog_id, is_current)
  select 'blog-' || id, id, true from blog
), counter as (
  insert into blogs.blog_counter (blog_id, total_views, total_likes, total_shares)
  select id, 45, 10, 10 from blog
), engagement as (
  insert into analytics.blog_hour (blog_id, hour, views, likes, shares)
  select blog.id, date_trunc('hour', now(), 'UTC') - n * interval '3 hours', n, 1, 1
  from blog cross join generate_series(0, 9) as n
)
insert into social.follow (followee_id, follower_id)
select id, $1::bigint from author order by id
