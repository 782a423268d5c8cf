-- What readers may like: for each blog the blogs that the same accounts like. This schema contains no account: likes are read
-- from Analytics, when they are learnt and when they are used. Owner: Recommendation.

set local role recommend_owner;

create table recommend.neighbour (
  generation integer not null,
  blog_id bigint not null,
  neighbour_ids bigint[] not null,
  similarities real[] not null check (cardinality(similarities) = cardinality(neighbour_ids)),
  primary key (generation, blog_id)
) with (fillfactor = 80);
-- No plan depends on these values.
alter table recommend.neighbour
  alter column neighbour_ids set statistics 0, alter column similarities set statistics 0;

comment on table recommend.neighbour is 'The nearest neighbours of each blog. A generation is complete before it is shown.';
comment on column recommend.neighbour.generation is 'Which rebuild it belongs to.';
comment on column recommend.neighbour.blog_id is 'The blog.';
comment on column recommend.neighbour.neighbour_ids is 'Its neighbours, nearest first.';
comment on column recommend.neighbour.similarities is 'How near each is, in the same order.';

create table recommend.progress (
  only_row boolean primary key default true check (only_row),
  generation integer not null default 0,
  applied_xid bigint not null default 0,
  as_of timestamptz not null default '-infinity',
  built_at timestamptz,
  wanted_since timestamptz default now(),
  next_xid bigint,
  next_after_id bigint,
  next_began_at timestamptz
) with (fillfactor = 50);
insert into recommend.progress default values;

comment on table recommend.progress is 'How far likes have been learnt, and how far the next generation has got.';
comment on column recommend.progress.only_row is 'Always true: the table has one row.';
comment on column recommend.progress.generation is 'The generation that readers are shown; 0 before the first.';
comment on column recommend.progress.applied_xid is 'It contains the likes that transactions below this one applied.';
comment on column recommend.progress.as_of is 'The moment at which these were all likes.';
comment on column recommend.progress.built_at is 'When the generation was complete.';
comment on column recommend.progress.wanted_since is 'Since when a new generation is wanted.';
comment on column recommend.progress.next_xid is 'Where the next generation began; null if none is being made.';
comment on column recommend.progress.next_after_id is 'The last blog that the next generation contains.';
comment on column recommend.progress.next_began_at is 'When the next generation was begun.';

-- How near two blogs are: the cosine of the accounts that like them, with five likes added to each side, so that one reader in
-- common does not count as the same taste.
create function recommend.similarity(together double precision, likes bigint, other_likes bigint) returns real
language sql immutable parallel safe
return (together / sqrt((greatest(likes, 1) + 5)::double precision * (greatest(other_likes, 1) + 5)))::real;

-- The one computation of which blogs are near these, for a rebuild and for what has changed: the blogs that accounts like
-- which like them. Of a blog with very many likes a fixed sample is used, of an account its newest likes. Runs with the
-- caller's rights.
create function recommend.pairs_of(blogs bigint[], likers_max bigint, likes_max bigint)
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
