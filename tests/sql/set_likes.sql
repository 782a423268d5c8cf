-- Sets likes ($1 accounts, $2 blogs, $3 liked) like the code that counts them, each newer than the one before, with the counters.
with given as (
  select l.blog_id, l.account_id, l.liked
  from unnest($1::bigint[], $2::bigint[], $3::boolean[]) as l (account_id, blog_id, liked)),
change as (
  select g.blog_id, sum(g.liked::integer - coalesce(o.liked, false)::integer) as n
  from given g left join analytics.blog_like o on o.blog_id = g.blog_id and o.account_id = g.account_id
  group by g.blog_id),
put as (
  insert into analytics.blog_like as old (blog_id, account_id, liked, version_us, version_id, applied_xid)
  select blog_id, account_id, liked, (extract(epoch from clock_timestamp()) * 1000000)::bigint, gen_random_uuid(),
         pg_current_xact_id()::text::bigint
  from given
  order by blog_id, account_id
  on conflict (blog_id, account_id) do update
  set liked = excluded.liked, version_us = excluded.version_us, applied_xid = excluded.applied_xid)
update blogs.blog_counter c set total_likes = c.total_likes + change.n from change where change.blog_id = c.blog_id
