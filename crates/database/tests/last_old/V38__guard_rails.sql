-- What one role could do to another through functions, bounded. Locks no rows that a service waits for.

-- A search path that leaves `pg_temp` out is searched with `pg_temp` first: in a database in which a caller may make
-- temporary objects, a domain named like a type that an owner's function uses runs the caller's code as the owner. A path
-- that ends with `pg_temp` finds the catalog's type first. Every function that has a path gets this one, in its owner's
-- name; `migrate --check` reports functions whose owner this administrator cannot act as.
do $$
declare
  found record;
begin
  for found in
    select p.oid::regprocedure::text as signature, pg_catalog.pg_get_userbyid(p.proowner) as owner
    from pg_catalog.pg_proc p
    join pg_catalog.pg_namespace n on n.oid = p.pronamespace
    where n.nspname in ('blogs', 'social', 'analytics', 'notify', 'recommend', 'days')
      and p.prokind in ('f', 'p')
      and (p.prosecdef or exists (select from unnest(p.proconfig) s where s like 'search_path=%'))
      and not coalesce(p.proconfig, '{}') @> array['search_path=pg_catalog, pg_temp']
    order by p.oid
  loop
    if pg_catalog.pg_has_role(session_user, found.owner, 'member') then
      execute format('set local role %I', found.owner);
      execute format('alter function %s set search_path = pg_catalog, pg_temp', found.signature);
      reset role;
    end if;
  end loop;
end $$;

set local role blogs_owner;

-- One process at a time forgets old answers. The API asks for this one lock by name, because no login role may take
-- advisory locks: with a few thousand of them one session fills the lock table that all databases of the server share.
create function blogs.turn_to_forget() returns boolean
language sql security definer set search_path = pg_catalog, pg_temp as $$
  select pg_try_advisory_xact_lock(hashtextextended('blogs.idempotency_forget', 0))
$$;
revoke execute on function blogs.turn_to_forget() from public;
grant execute on function blogs.turn_to_forget() to blogs_api;

reset role;

set local role analytics_owner;

-- How many sessions of each role are executing something in this database, without the caller's own. It tells counts and
-- no statement: a statement may hold what its role alone may see. Counts other roles' sessions where the owner is a
-- member of pg_read_all_stats.
create function analytics.busy_sessions() returns table (role text, sessions bigint)
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
  select a.usename::text, count(*)
  from pg_catalog.pg_stat_activity a
  where a.datname = current_database() and a.state = 'active' and a.usename is not null and a.pid <> pg_backend_pid()
  group by a.usename
$$;
revoke execute on function analytics.busy_sessions() from public;
grant execute on function analytics.busy_sessions() to console;

reset role;

-- The owner of notifications asks which days blogs were first published on.
grant usage on schema blogs to notify_owner;

set local role blogs_owner;

grant select (first_published_at) on blogs.first_publishing to notify_owner;

reset role;

set local role notify_owner;

-- Makes one day of notifications: 'there', 'outside' or 'busy'. From yesterday to 60 days ahead any day can be made; an older
-- one only if a blog that is not deleted was first published on it, and never one of more than ten years ago, the most
-- that `partitions.days_kept` may say. A caller cannot ask for thousands of empty days, each of which every inbox would
-- have to look into.
create or replace function notify.create_day(wanted date) returns text
language plpgsql security definer set search_path = pg_catalog, pg_temp set lock_timeout = '200ms' as $$
declare
  today date := (now() at time zone 'utc')::date;
  child text := 'notify.notification_' || to_char(wanted, 'YYYYMMDD');
  made text;
begin
  if wanted is null or wanted > today + 60 or wanted < today - 3650
     or wanted < today - 1 and to_regclass(child) is null and not exists (
       select from blogs.first_publishing p
       where p.first_published_at >= wanted::timestamp at time zone 'utc'
         and p.first_published_at < (wanted + 1)::timestamp at time zone 'utc')
  then
    return 'outside';
  end if;
  made := days.make('notify', 'notification', wanted, quote_literal(wanted || ' 00:00:00+00'),
                    quote_literal((wanted + 1) || ' 00:00:00+00'));
  -- Not taken over from the parent.
  if made = 'there' and exists (
    select from pg_catalog.pg_attribute a
    where a.attrelid = to_regclass(child) and a.attname = 'recipient_id' and a.attstattarget is distinct from 0)
  then
    execute format('alter table %s alter column recipient_id set statistics 0', child);
  end if;
  return made;
end $$;

-- As before: a null keeps everything.
create or replace function notify.drop_oldest_day(kept integer) returns date
language plpgsql security definer set search_path = pg_catalog, pg_temp set lock_timeout = '200ms' as $$
declare
  oldest date;
begin
  if kept is null or not pg_try_advisory_xact_lock(hashtextextended('notify.days.notification', 0)) then
    return null;
  end if;
  oldest := days.oldest('notify', 'notification');
  if oldest is null or oldest >= (now() at time zone 'utc')::date - greatest(kept, 7) then
    return null;
  end if;
  execute format('drop table notify.%I', 'notification_' || to_char(oldest, 'YYYYMMDD'));
  return oldest;
end $$;

reset role;

set local role analytics_owner;

-- A null passed comparisons that bound these: a day of which nobody said how many to keep could be dropped today.
alter function analytics.create_day(text, date) strict;
alter function analytics.old_days(text, integer) strict;
alter function analytics.drop_day(text, date, integer) strict;
alter function analytics.place_ahead(uuid) strict;
alter function analytics.refresh_popularity(interval) strict;

-- As before, and at most what the settings of a worker may ask for at once; a null asked for everything.
create or replace function analytics.forget_event_keys(most integer) returns bigint
language sql security definer set search_path = pg_catalog, pg_temp as $$
  with gone as (
    delete from analytics.event_key where key in (
      select k.key from analytics.event_key k
      where k.expires_at < now()
        and not exists (select from analytics.parked p
                        where p.key = k.key and analytics.is_waiting(p.redriven_at, p.dropped_at))
      order by k.expires_at limit least(coalesce(most, 0), 1000000) for update of k skip locked)
    returning 1)
  select count(*) from gone
$$;

-- As before, and at most what the settings of a worker may ask for at once; a null asked for every blog.
create or replace function analytics.counter_drift(after_id bigint, most integer)
returns table (blog_id bigint, kind text, counter bigint, counted bigint, looked_at bigint, last_id bigint)
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
  with page as (
    select c.* from blogs.blog_counter c where c.blog_id > after_id order by c.blog_id
    limit least(coalesce(most, 0), 100000)),
  summed as (
    select p.blog_id, p.total_views, p.total_likes, p.total_shares,
           coalesce((select sum(h.views) from analytics.blog_hour h where h.blog_id = p.blog_id), 0)::bigint as views,
           (select count(*) from analytics.blog_like l where l.blog_id = p.blog_id and l.liked) as likes,
           coalesce((select sum(s.shares) from analytics.blog_share s where s.blog_id = p.blog_id), 0)::bigint as shares
    from page p),
  compared as (
    select s.blog_id, k.kind, k.counter, k.counted
    from summed s
    cross join lateral (values ('views', s.total_views, s.views), ('likes', s.total_likes, s.likes),
                               ('shares', s.total_shares, s.shares)) as k (kind, counter, counted)
    where k.counter <> k.counted),
  looked as (select count(*) as looked_at, max(p.blog_id) as last_id from page p)
  -- A row without a blog when nothing differs, so that the caller learns how far it got.
  select c.blog_id, c.kind, c.counter, c.counted, looked.looked_at, looked.last_id
  from looked left join compared c on true
  where looked.last_id is not null
  order by c.blog_id, c.kind
$$;

reset role;
