-- What readers may like: for each blog the blogs that are liked by the same accounts. Owner: Recommendation. No account
-- stands in this schema: whose likes they were is asked of the shared tables, when it is learnt and when it is used.

create schema recommend authorization recommend_owner;
alter default privileges for role recommend_owner revoke execute on functions from public;

grant usage on schema recommend to recommendation_api, operator;
grant usage on schema blogs, social, analytics to recommendation_api;
-- To name their tables in its function, not to read them.
grant usage on schema blogs, analytics to recommend_owner;

set local role recommend_owner;

-- One row a blog and generation: its nearest neighbours, nearest first. A generation is made whole before it is shown.
create table recommend.neighbour (
  generation integer not null,
  blog_id bigint not null,
  neighbour_ids bigint[] not null,
  similarities real[] not null check (cardinality(similarities) = cardinality(neighbour_ids)),
  primary key (generation, blog_id)
) with (fillfactor = 80);
-- No index knows who is near whom backwards, and no plan depends on the values.
alter table recommend.neighbour
  alter column neighbour_ids set statistics 0, alter column similarities set statistics 0;

-- How far has been learnt, and how far the generation that is being made has got.
create table recommend.progress (
  only_row boolean primary key default true check (only_row),
  -- What readers are shown; 0: nothing yet.
  generation integer not null default 0,
  -- Likes that were applied by transactions below this one are in it.
  applied_xid bigint not null default 0,
  -- And they are all that there were at this moment.
  as_of timestamptz not null default '-infinity',
  built_at timestamptz,
  -- Since when a new generation is asked for.
  wanted_since timestamptz default now(),
  -- The one that is being made: where it began, and the last blog that is in it. Null: none.
  next_xid bigint,
  next_after_id bigint,
  next_began_at timestamptz
) with (fillfactor = 50);
insert into recommend.progress default values;

-- How near two blogs are: the cosine of who likes them, with five likes added to each side, so that a single reader in
-- common is not taken for the same taste.
create function recommend.similarity(together double precision, likes bigint, other_likes bigint) returns real
language sql immutable parallel safe
return (together / sqrt((greatest(likes, 1) + 5)::double precision * (greatest(other_likes, 1) + 5)))::real;

-- The one computation of who is near these blogs, for the whole and for what has changed: the blogs that accounts like
-- which like them. Of a blog that very many like a sample is looked at (always the same one), of an account its newest
-- likes. Runs with the rights of the caller.
create function recommend.pairs_of(blogs bigint[], likers_max bigint, likes_max bigint)
returns table (blog_id bigint, neighbour_id bigint, similarity real)
language sql stable parallel safe as $$
  select t.blog_id, t.neighbour_id,
         recommend.similarity(t.together::double precision * greatest(c.total_likes::double precision / likers_max, 1),
                              c.total_likes, n.total_likes)
  from (
    select b.id as blog_id, other.blog_id as neighbour_id, count(*) as together
    from unnest(blogs) as b (id)
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
      order by o.version_us desc, o.blog_id
      limit likes_max) other
    where other.blog_id <> b.id
    group by b.id, other.blog_id) t
  join blogs.blog_counter c on c.blog_id = t.blog_id
  join blogs.blog_counter n on n.blog_id = t.neighbour_id
$$;

grant select on recommend.neighbour, recommend.progress to operator;
grant select, insert, update (neighbour_ids, similarities), delete on recommend.neighbour to recommendation_api;
grant select on recommend.progress to recommendation_api;
grant update (generation, applied_xid, as_of, built_at, wanted_since, next_xid, next_after_id, next_began_at)
  on recommend.progress to recommendation_api;
grant execute on function recommend.similarity(double precision, bigint, bigint),
  recommend.pairs_of(bigint[], bigint, bigint) to recommendation_api;

reset role;

set local role blogs_owner;

grant select on blogs.live_blog, blogs.active_account to recommendation_api;
grant select (id, handle, token_epoch) on blogs.account to recommendation_api;
grant select (id, title) on blogs.blog to recommendation_api;
grant select (blog_id, slug, is_current) on blogs.blog_slug to recommendation_api;
grant select on blogs.blog_tag to recommendation_api;
grant select (blog_id, total_likes) on blogs.blog_counter to recommendation_api;
grant select (followee_id, follower_id) on social.follow to recommendation_api;

reset role;

set local role analytics_owner;

grant select (blog_id, account_id, liked, version_us, applied_xid) on analytics.blog_like to recommendation_api;
grant select on analytics.blog_popularity, analytics.popularity_run to recommendation_api;
grant execute on function analytics.popularity_version(), analytics.half_life(text),
  analytics.popularity_at(double precision, timestamptz, interval) to recommendation_api;

reset role;
