-- Who follows whom, and who is told of a new blog. `social` belongs to Blogs, `notify` to Notification: the fan-out
-- reads the one and writes the other in one statement.

create schema social authorization blogs_owner;
create schema notify authorization notify_owner;
-- What every owner of a table of days does with one. Nobody's own: its functions run with the rights of the owner's
-- function that calls them.
create schema days;

alter default privileges for role notify_owner revoke execute on functions from public;

grant usage on schema social to blogs_api, notification_worker;
grant usage on schema notify to blogs_api, notification_worker, operator;
grant usage on schema blogs to notification_worker;
grant usage on schema days to analytics_owner, notify_owner;

-- Makes one day of a table. 'there': it is there now. 'busy': somebody else is at it just now, ask again. A day is made
-- as a table of its own and then attached: attaching lets readers and writers go on, `partition of` would stop them.
create function days.make(owner text, parent text, day date, lower text, upper text) returns text
language plpgsql set search_path = '' as $$
declare
  child text := parent || '_' || to_char(day, 'YYYYMMDD');
begin
  if to_regclass(format('%I.%I', owner, child)) is not null then
    return 'there';
  end if;
  if not pg_try_advisory_xact_lock(hashtextextended(owner || '.days.' || parent, 0)) then
    return 'busy';
  end if;
  -- Asked of the table: what a name means is remembered by the session, which need not have heard yet of what somebody else
  -- committed before the lock was free.
  if exists (select from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
             where n.nspname = owner and c.relname = child) then
    return 'there';
  end if;
  execute format('create table %I.%I (like %I.%I including all)', owner, child, owner, parent);
  execute format('alter table %I.%I attach partition %I.%I for values from (%s) to (%s)',
                 owner, parent, owner, child, lower, upper);
  return 'there';
end $$;

-- The oldest day of a table whose partition exists, null when there is none.
create function days.oldest(owner text, parent text) returns date
language sql stable set search_path = '' as $$
  select min(to_date(right(c.relname, 8), 'YYYYMMDD'))
  from pg_catalog.pg_inherits i
  join pg_catalog.pg_class c on c.oid = i.inhrelid
  where i.inhparent = to_regclass(format('%I.%I', owner, parent))
$$;

revoke execute on all functions in schema days from public;
grant execute on all functions in schema days to analytics_owner, notify_owner;

set local role analytics_owner;

-- As before, by the shared functions.
create or replace function analytics.create_day(parent text, wanted date) returns text
language plpgsql security definer set search_path = '' set lock_timeout = '200ms' as $$
declare
  bounds record;
begin
  if parent not in ('envelope_ledger', 'blog_view') then
    raise exception 'not a table of days: %', parent using errcode = '22023';
  end if;
  if (wanted < (select f.day from analytics.ledger_floor f) or wanted > (now() at time zone 'utc')::date + 60)
     and to_regclass('analytics.' || parent || '_' || to_char(wanted, 'YYYYMMDD')) is null
  then
    return 'outside';
  end if;
  bounds := analytics.day_bounds(parent, wanted);
  return days.make('analytics', parent, wanted, bounds.lower, bounds.upper);
end $$;

create or replace function analytics.oldest_day(parent text) returns date
language sql stable security definer set search_path = '' as $$
  select days.oldest('analytics', parent)
$$;

reset role;

set local role blogs_owner;

-- The one rule of what is live, now also with the moment at which followers are told of it.
create or replace view blogs.live_blog with (security_barrier = true) as
  select b.id, b.author_id, b.published_at, b.first_published_at
  from blogs.blog b
  join blogs.active_account a on a.id = b.author_id
  where b.deleted_at is null and b.published_at is not null and b.taken_down_at is null;

-- The other side of the one rule of who may act: every account is in one of the two views. They are few, and a fan-out
-- leaves them out without a look at the million others.
create view blogs.inactive_account as
  select a.id from blogs.account a where a.deleted_at is not null or a.suspended_at is not null;
create index account_inactive on blogs.account (id) where deleted_at is not null or suspended_at is not null;

-- One row a follow; unfollowing deletes it, following again is a new one. Both are keys in an order in which they are
-- read: a fan-out and the list of followers walk the primary key, which also holds the time, so that the table itself is
-- not visited. No foreign keys: each follow would lock the row of the account that a million others follow. Whoever
-- follows asks active_account; erasing an account waits for all who might have seen it active (see account_erase).
create table social.follow (
  followee_id bigint not null,
  follower_id bigint not null,
  -- The database's clock when the follow began: a fan-out tells those whose follow is not younger than the blog.
  followed_at timestamptz not null default now(),
  check (followee_id <> follower_id),
  primary key (followee_id, follower_id) include (followed_at)
);
create index follow_by_follower on social.follow (follower_id, followee_id);

-- How many, without counting a million rows. Spread over slots (the backend's process id modulo 16), because one row
-- would make everybody who follows the same account wait for each other; their sum is exact.
create table social.follow_counter (
  account_id bigint not null,
  slot smallint not null,
  followers bigint not null,
  following bigint not null,
  primary key (account_id, slot)
) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000);

-- The one home of counting follows: whoever inserts or deletes them, in one statement or many. Locks the counters of
-- all accounts that a statement touches, in the order of their ids.
create function social.count_follows() returns trigger
language plpgsql security definer set search_path = '' as $$
declare
  step integer := case tg_op when 'INSERT' then 1 else -1 end;
begin
  insert into social.follow_counter as c (account_id, slot, followers, following)
  select e.account_id, (pg_backend_pid() % 16)::smallint, sum(e.followers), sum(e.following)
  from (
    select changed.followee_id as account_id, step as followers, 0 as following from changed
    union all
    select changed.follower_id, 0, step from changed) as e
  group by e.account_id
  order by e.account_id
  on conflict (account_id, slot) do update
    set followers = c.followers + excluded.followers, following = c.following + excluded.following;
  return null;
end $$;
create trigger follow_inserted after insert on social.follow
  referencing new table as changed for each statement execute function social.count_follows();
create trigger follow_deleted after delete on social.follow
  referencing old table as changed for each statement execute function social.count_follows();

-- As before, and whom the account follows.
create or replace function blogs.export_account(wanted bigint) returns table (part text, item jsonb)
language sql stable security definer set search_path = '' as $$
  (select 'account', jsonb_build_object(
     'id', a.id, 'handle', a.handle, 'email', a.email, 'created_at', a.created_at,
     'suspended_at', a.suspended_at, 'deleted_at', a.deleted_at)
   from blogs.account a
   where a.id = wanted)
  union all
  (select 'blogs', jsonb_build_object(
     'id', b.id, 'title', b.title, 'body', b.body, 'source_path', b.source_path,
     'created_at', b.created_at, 'updated_at', b.updated_at, 'published_at', b.published_at,
     'taken_down_at', b.taken_down_at, 'deleted_at', b.deleted_at,
     'slugs', (select coalesce(jsonb_agg(s.slug order by s.is_current desc, s.slug), '[]')
               from blogs.blog_slug s where s.blog_id = b.id),
     'tags', (select coalesce(jsonb_agg(t.name order by t.name), '[]')
              from blogs.blog_tag bt join blogs.tag t on t.id = bt.tag_id where bt.blog_id = b.id),
     'total_views', c.total_views, 'total_likes', c.total_likes, 'total_shares', c.total_shares)
   from blogs.blog b join blogs.blog_counter c on c.blog_id = b.id
   where b.author_id = wanted
   order by b.id)
  union all
  (select 'answers', jsonb_build_object('key', k.key, 'response', k.response)
   from blogs.idempotency_key k
   where k.account_id = wanted
   order by k.created_at, k.key)
  union all
  (select 'following', jsonb_build_object('id', f.followee_id, 'since', f.followed_at)
   from social.follow f
   where f.follower_id = wanted
   order by f.followee_id)
$$;

-- A sample would keep ids of accounts, and nobody plans by this one.
alter table social.follow_counter alter column account_id set statistics 0;

-- As before, and the follows, whose samples the plan of a fan-out needs. (A table that has become empty keeps its sample
-- until somebody follows again.)
create or replace function blogs.sample_again() returns void
language plpgsql security definer set search_path = '' as $$
begin
  analyze blogs.blog (author_id), social.follow (followee_id, follower_id);
end $$;

-- As before, and its follows in both directions: with them goes one from the counter of everybody on the other side.
-- Locks the account, its blogs, then the follows, in key order each. An envelope may also name it as who is followed.
create or replace function blogs.erase_account(wanted bigint) returns void
language plpgsql security definer set search_path = '' as $$
declare
  owned bigint[];
  waiting text;
begin
  perform from blogs.account where id = wanted for update;
  if exists (select from blogs.account a where a.id = wanted and a.deleted_at is null) then
    raise exception 'account % is not deleted', wanted using errcode = '55000';
  end if;
  perform from blogs.blog where author_id = wanted order by id for update;
  select string_agg(distinct o.routing_key, ', ') into waiting
  from blogs.outbox o
  where blogs.names_account(o.body, wanted)
     or (o.routing_key in ('account.followed', 'account.unfollowed')
         and encode(o.body, 'escape') ~ format('"subject"\s*:\s*"%s"', wanted));
  if waiting is not null then
    raise exception 'the outbox still holds an envelope of account % (%)', wanted, waiting using errcode = '55006';
  end if;
  perform from social.follow f
  where f.followee_id = wanted or f.follower_id = wanted
  order by f.followee_id, f.follower_id
  for update;
  delete from social.follow where followee_id = wanted or follower_id = wanted;
  delete from social.follow_counter where account_id = wanted;
  select coalesce(array_agg(id order by id), '{}') into owned from blogs.blog where author_id = wanted;
  update blogs.blog
  set author_id = null, title = 'erased', body = '', source_path = null, deleted_at = coalesce(deleted_at, now()),
      version = version + 1
  where id = any (owned);
  delete from blogs.blog_tag where blog_id = any (owned);
  delete from blogs.blog_slug where blog_id = any (owned);
  delete from blogs.idempotency_key where account_id = wanted;
  delete from blogs.account where id = wanted;
end $$;

grant select, insert, delete on social.follow to blogs_api;
grant select on social.follow_counter to blogs_api;

grant select (id, author_id, first_published_at) on blogs.live_blog to notification_worker;
grant select on blogs.inactive_account to notification_worker;
grant select on social.follow to notification_worker;
grant select (account_id, followers) on social.follow_counter to notification_worker;

reset role;

set local role notify_owner;

-- One row a blog, for ever: who was told of it is decided once. published_at is the moment of its first publishing. It
-- says who is told (those who followed then), and it is the partition key of all its notifications, so that their
-- unique key holds across partitions, however often the blog is taken back and published again.
create table notify.fan_out (
  blog_id bigint primary key,
  published_at timestamptz not null,
  -- running: its next chunk may be taken. withdrawn: the blog was not live; it goes on when it is again. paused and
  -- cancelled: an operator's doing. Only done and cancelled are ends.
  state text not null default 'running'
    check (state in ('running', 'withdrawn', 'paused', 'cancelled', 'done')),
  -- How many followed the author when it began, and when it is done: how many were looked at.
  total bigint not null,
  -- The last follower that was looked at; 0 before the first, and when it is done.
  after_id bigint not null default 0,
  looked_at bigint not null default 0,
  notified bigint not null default 0,
  -- Followers looked at in a second, the last chunks most.
  rows_per_s double precision not null default 0,
  -- Chunks are taken from whoever has waited longest.
  turn_at timestamptz not null default clock_timestamp(),
  created_at timestamptz not null default clock_timestamp(),
  ended_at timestamptz
);
create index fan_out_turn on notify.fan_out (turn_at, blog_id) where state = 'running';
create index fan_out_withdrawn on notify.fan_out (blog_id) where state = 'withdrawn';

-- What a person is told. As narrow as can be, for there are a million of them a blog: what the blog is called, whose it
-- is and whether it is still there is asked of the shared tables when somebody looks. The one index says what is unique,
-- is walked for the inbox, and counts what is unread.
create table notify.notification (
  recipient_id bigint not null,
  published_at timestamptz not null,
  blog_id bigint not null,
  read_at timestamptz,
  primary key (recipient_id, published_at, blog_id) include (read_at)
) partition by range (published_at);

-- As in `social`.
alter table notify.fan_out alter column after_id set statistics 0;
alter table notify.notification alter column recipient_id set statistics 0;

-- Makes one day of notifications: 'there', 'outside' (further away than any day that could be meant) or 'busy'.
create function notify.create_day(wanted date) returns text
language plpgsql security definer set search_path = '' set lock_timeout = '200ms' as $$
declare
  today date := (now() at time zone 'utc')::date;
  child text := format('notify.%I', 'notification_' || to_char(wanted, 'YYYYMMDD'));
  made text;
begin
  if wanted < today - 3650 or wanted > today + 60 then
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

-- Drops the oldest day of notifications if it is older than so many days, and returns it; null if there is none, or
-- somebody else is at it. Never one of the last 7 days. Locks the parent against everything, for at most 200 ms of waiting.
create function notify.drop_oldest_day(kept integer) returns date
language plpgsql security definer set search_path = '' set lock_timeout = '200ms' as $$
declare
  oldest date;
begin
  if not pg_try_advisory_xact_lock(hashtextextended('notify.days.notification', 0)) then
    return null;
  end if;
  oldest := days.oldest('notify', 'notification');
  if oldest is null or oldest >= (now() at time zone 'utc')::date - greatest(kept, 7) then
    return null;
  end if;
  execute format('drop table notify.%I', 'notification_' || to_char(oldest, 'YYYYMMDD'));
  return oldest;
end $$;

-- What operators decide about a fan-out. Each locks its row, which the worker holds for the length of one chunk, and
-- says whether there was anything to change.
create function notify.pause_fan_out(wanted bigint) returns boolean
language sql security definer set search_path = '' as $$
  with changed as (
    update notify.fan_out set state = 'paused' where blog_id = wanted and state = 'running' returning 1)
  select exists (select from changed)
$$;

create function notify.resume_fan_out(wanted bigint) returns boolean
language sql security definer set search_path = '' as $$
  with changed as (
    update notify.fan_out set state = 'running', turn_at = clock_timestamp()
    where blog_id = wanted and state in ('paused', 'withdrawn')
    returning 1)
  select exists (select from changed)
$$;

create function notify.cancel_fan_out(wanted bigint) returns boolean
language sql security definer set search_path = '' as $$
  with changed as (
    update notify.fan_out set state = 'cancelled', ended_at = clock_timestamp()
    where blog_id = wanted and state in ('running', 'paused', 'withdrawn')
    returning 1)
  select exists (select from changed)
$$;

-- What an account was told.
create function notify.export_account(wanted bigint) returns table (part text, item jsonb)
language sql stable security definer set search_path = '' as $$
  select 'notifications', jsonb_build_object('blog_id', n.blog_id, 'published_at', n.published_at, 'read_at', n.read_at)
  from notify.notification n
  where n.recipient_id = wanted
  order by n.published_at, n.blog_id
$$;

-- Nothing in this schema says any more who it was. A fan-out that has just looked at the account goes on from the id
-- before: nobody is between them. Locks the fan-outs, then the notifications, each in key order.
create function notify.erase_account(wanted bigint) returns void
language plpgsql security definer set search_path = '' as $$
begin
  perform from notify.fan_out f where f.after_id = wanted order by f.blog_id for no key update;
  update notify.fan_out set after_id = wanted - 1 where after_id = wanted;
  perform from notify.notification n where n.recipient_id = wanted order by n.published_at, n.blog_id for update;
  delete from notify.notification where recipient_id = wanted;
end $$;

grant select, insert, update (state, total, after_id, looked_at, notified, rows_per_s, turn_at, ended_at)
  on notify.fan_out to notification_worker;
-- To write inboxes, not to read them.
grant insert on notify.notification to notification_worker;
grant execute on function notify.create_day(date), notify.drop_oldest_day(integer) to notification_worker;

grant select on notify.fan_out to blogs_api, operator;
grant select, update (read_at) on notify.notification to blogs_api;

grant execute on function notify.pause_fan_out(bigint), notify.resume_fan_out(bigint), notify.cancel_fan_out(bigint),
  notify.export_account(bigint), notify.erase_account(bigint) to operator;

reset role;
