-- The newest likes of an account, in order and from the index alone: a rebuild of who is near whom reads them for every like
-- there is, and each page of recommendations once. Owner: Analytics, and Recommendation for its function. Locks likes
-- against writes while the index is made.
set local role analytics_owner;

create index blog_like_newest on analytics.blog_like (account_id, version_us, blog_id) include (liked);

reset role;

set local role recommend_owner;

-- As before, in the order of that index, and with the likes of each blog looked up once instead of for each of its pairs.
create or replace function recommend.pairs_of(blogs bigint[], likers_max bigint, likes_max bigint)
returns table (blog_id bigint, neighbour_id bigint, similarity real)
language sql stable parallel safe as $$
  select t.blog_id, t.neighbour_id,
         recommend.similarity(t.together::double precision * greatest(t.total_likes::double precision / likers_max, 1),
                              t.total_likes, n.total_likes)
  from (
    select b.id as blog_id, c.total_likes, other.blog_id as neighbour_id, count(*) as together
    from unnest(blogs) as b (id)
    join blogs.blog_counter c on c.blog_id = b.id
    cross join lateral (
      select l.account_id
      from analytics.blog_like l
      where l.blog_id = b.id and l.liked
      order by hashint8(l.account_id), l.account_id
      limit likers_max) liker
    cross join lateral (
      select o.blog_id
      from analytics.blog_like o
      where o.account_id = liker.account_id and o.liked
      order by o.version_us desc, o.blog_id desc
      limit likes_max) other
    where other.blog_id <> b.id
    group by b.id, c.total_likes, other.blog_id) t
  join blogs.blog_counter n on n.blog_id = t.neighbour_id
$$;

reset role;
