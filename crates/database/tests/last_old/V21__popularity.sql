-- What is popular: one definition for all services, and the lists that an hourly job makes by it. Owner: Analytics. And
-- which transaction a like was applied in, for whoever follows what changes.

set local role analytics_owner;

-- The version of the definition. Whoever changes one of the functions below raises it; rows of another are not shown.
create function analytics.popularity_version() returns integer
language sql immutable parallel safe
return 1;

-- The spans that lists are made for, each with the time after which engagement counts half.
create function analytics.half_life(span text) returns interval
language sql immutable parallel safe
return case span when 'day' then interval '24 hours' when 'week' then interval '168 hours' end;

-- The formula: what engagement of this age adds to the popularity of a blog. A like is worth 4 views, a share 8; each
-- half-life halves it. Ages below 0 (a clock that is ahead) are 0; beyond 1000 half-lives it is as good as nothing.
create function analytics.popularity(views bigint, likes bigint, shares bigint, age interval, half_life interval)
returns double precision
language sql immutable parallel safe
return (views + 4 * likes + 8 * shares)::double precision
  * power(2::double precision, -least(greatest(
      extract(epoch from age)::double precision / extract(epoch from half_life)::double precision, 0), 1000));

-- A popularity that is good for ever: everything decays alike, so the order of two blogs changes by new engagement alone.
-- It is the logarithm of the popularity, moved by the half-lives since 1970, so lists need no writing while nothing
-- happens and a place in them keeps its meaning.
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

-- The lists, one for each span. Who is in them is not asked whether readers may see it: that is asked when they are read.
create table analytics.blog_popularity (
  span text not null,
  blog_id bigint not null,
  rank double precision not null,
  version integer not null,
  primary key (span, blog_id)
);
create index blog_popularity_rank on analytics.blog_popularity (span, rank desc, blog_id desc);

-- When they were last made.
create table analytics.popularity_run (
  only_row boolean primary key default true check (only_row),
  as_of timestamptz not null,
  version integer not null
);

-- The job reads the last hours of the series alone, and rows come in the order of their hours.
create index blog_hour_by_hour on analytics.blog_hour using brin (hour) with (pages_per_range = 32, autosummarize = on);

-- Makes the lists anew if they are older than this, or of another version; says how many rows changed, null if it was not
-- due or somebody else is at it. Engagement from before five half-lives, which counts less than a thirty-second, is not
-- read. Locks the rows that change, in key order.
create function analytics.refresh_popularity(older_than interval) returns bigint
language plpgsql security definer set search_path = '' as $$
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

-- The transaction that last changed a like. Below the oldest transaction that still runs everything has been seen, so whoever
-- remembers how far he has read reads each change once, in whatever order likes are accepted and applied. 0: before this.
alter table analytics.blog_like add column applied_xid bigint not null default 0;
create index blog_like_by_xid on analytics.blog_like using brin (applied_xid)
  with (pages_per_range = 32, autosummarize = on);

grant update (applied_xid) on analytics.blog_like to engagement_writer;
grant execute on function analytics.refresh_popularity(interval) to analytics_worker;
grant execute on function analytics.popularity_version(), analytics.half_life(text),
  analytics.popularity_at(double precision, timestamptz, interval) to blogs_api;
grant select on analytics.blog_popularity, analytics.popularity_run to blogs_api, operator;

reset role;
