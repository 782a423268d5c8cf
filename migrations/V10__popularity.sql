-- What is popular: one definition for all services, and the lists that an hourly job makes by it. Owner: Analytics.

set local role analytics_owner;

-- The version of the definition. Raise it with every change to one of the functions below; rows of another are not shown.
create function analytics.popularity_version() returns integer
language sql immutable parallel safe
return 1;

-- The spans that lists are made for, each with the time after which engagement counts half.
create function analytics.half_life(span text) returns interval
language sql immutable parallel safe
return case span when 'day' then interval '24 hours' when 'week' then interval '168 hours' end;

-- The formula: what engagement of this age adds to the popularity of a blog. A like is worth 4 views, a share 8; each
-- half-life halves it. Ages below 0 (a clock that is ahead) are 0; beyond 1000 half-lives the rest is negligible.
create function analytics.popularity(views bigint, likes bigint, shares bigint, age interval, half_life interval)
returns double precision
language sql immutable parallel safe
return (views + 4 * likes + 8 * shares)::double precision
  * power(2::double precision, -least(greatest(
      extract(epoch from age)::double precision / extract(epoch from half_life)::double precision, 0), 1000));

-- The logarithm of the popularity, moved by the half-lives since 1970. Everything decays alike, so the rank stays valid:
-- the order of two blogs changes by new engagement alone, and lists need no update without it.
create function analytics.popularity_rank(popularity double precision, at timestamptz, half_life interval)
returns double precision
language sql immutable parallel safe
return ln(popularity) / ln(2::double precision)
  + extract(epoch from at)::double precision / extract(epoch from half_life)::double precision;

-- The popularity of a rank at some moment.
create function analytics.popularity_at(rank double precision, at timestamptz, half_life interval)
returns double precision
language sql immutable parallel safe
return power(2::double precision, greatest(least(
  rank - extract(epoch from at)::double precision / extract(epoch from half_life)::double precision, 1000), -1000));

create table analytics.blog_popularity (
  span text not null,
  blog_id bigint not null,
  rank double precision not null,
  version integer not null,
  primary key (span, blog_id)
);
create index blog_popularity_rank on analytics.blog_popularity (span, rank desc, blog_id desc);

comment on table analytics.blog_popularity is 'The lists of popular blogs. Whether readers see a blog is asked when a list is read.';
comment on column analytics.blog_popularity.span is 'day or week.';
comment on column analytics.blog_popularity.blog_id is 'The blog.';
comment on column analytics.blog_popularity.rank is 'See analytics.popularity_rank.';
comment on column analytics.blog_popularity.version is 'The version of the definition that it was made by.';

create table analytics.popularity_run (
  only_row boolean primary key default true check (only_row),
  as_of timestamptz not null,
  version integer not null
);

comment on table analytics.popularity_run is 'When the lists were last made.';
comment on column analytics.popularity_run.only_row is 'Always true: the table has at most one row.';
comment on column analytics.popularity_run.as_of is 'The moment that the lists are about.';
comment on column analytics.popularity_run.version is 'The version of the definition.';

-- Makes the lists again if they are older than this, or of another version. Returns how many rows changed; null if the lists
-- were not due, or another session makes them. Engagement older than five half-lives, which counts less than a
-- thirty-second, is not read. Locks the rows that change, in key order.
create function analytics.refresh_popularity(older_than interval) returns bigint
language plpgsql strict security definer set search_path = pg_catalog, pg_temp as $$
declare
  moment timestamptz := now();
  changed bigint;
begin
  if not pg_try_advisory_xact_lock(hashtextextended('analytics.popularity', 0))
    or exists (select from analytics.popularity_run r
               where r.as_of > moment - older_than and r.version = analytics.popularity_version())
  then
    return null;
  end if;
  with summed as (
    select s.span, h.blog_id,
           sum(analytics.popularity(h.views, h.likes - h.unlikes, h.shares, moment - h.hour, s.half_life)) as popularity
    from (select span, analytics.half_life(span) as half_life from unnest(array['day', 'week']) as span) s
    join analytics.blog_hour h on h.hour > moment - 5 * s.half_life
    group by s.span, h.blog_id),
  fresh as (
    select f.span, f.blog_id, analytics.popularity_rank(f.popularity, moment, analytics.half_life(f.span)) as rank
    from summed f
    where f.popularity > 0.001),
  gone as (
    delete from analytics.blog_popularity p
    where not exists (select from fresh f where f.span = p.span and f.blog_id = p.blog_id)
    returning 1),
  put as (
    insert into analytics.blog_popularity as p (span, blog_id, rank, version)
    select f.span, f.blog_id, f.rank, analytics.popularity_version()
    from fresh f
    order by f.span, f.blog_id
    on conflict (span, blog_id) do update set rank = excluded.rank, version = excluded.version
    where abs(p.rank - excluded.rank) > 1e-6 or p.version <> excluded.version
    returning 1)
  select (select count(*) from gone) + (select count(*) from put) into changed;
  insert into analytics.popularity_run (as_of, version) values (moment, analytics.popularity_version())
  on conflict (only_row) do update set as_of = excluded.as_of, version = excluded.version;
  return changed;
end $$;

reset role;
