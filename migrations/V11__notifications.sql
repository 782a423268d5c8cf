-- Which followers were notified of a new blog. Owner: Notification.

set local role notify_owner;

create table notify.fan_out (
  blog_id bigint primary key,
  published_at timestamptz not null,
  state text not null default 'running'
    check (state in ('running', 'withdrawn', 'paused', 'cancelled', 'done')),
  total bigint not null,
  after_id bigint not null default 0,
  looked_at bigint not null default 0,
  notified bigint not null default 0,
  rows_per_s double precision not null default 0,
  turn_at timestamptz not null default clock_timestamp(),
  created_at timestamptz not null default clock_timestamp(),
  ended_at timestamptz
);
create index fan_out_turn on notify.fan_out (turn_at, blog_id) where state = 'running';
create index fan_out_newest on notify.fan_out (created_at desc);
alter table notify.fan_out alter column after_id set statistics 0;

comment on table notify.fan_out is 'One row a blog, for good: a blog is announced once, however often it is published.';
comment on column notify.fan_out.blog_id is 'The blog.';
comment on column notify.fan_out.published_at is
  'When it was first published: accounts that followed then are notified. Also the partition key of all its notifications, so that their primary key holds across partitions.';
comment on column notify.fan_out.state is
  'running: its next chunk may be taken. withdrawn: readers do not see the blog; it continues when they do. paused, cancelled: by an operator. done and cancelled are final.';
comment on column notify.fan_out.total is 'How many followed the author when it began; when it is done, how many were looked at.';
comment on column notify.fan_out.after_id is 'The last follower that was looked at; 0 before the first and when it is done.';
comment on column notify.fan_out.looked_at is 'How many followers were looked at.';
comment on column notify.fan_out.notified is 'How many were notified.';
comment on column notify.fan_out.rows_per_s is 'Followers looked at in a second; a moving average over chunks.';
comment on column notify.fan_out.turn_at is 'Since when it waits for its next chunk. The longest wait is served first.';
comment on column notify.fan_out.created_at is 'When it began.';
comment on column notify.fan_out.ended_at is 'When it was done or cancelled.';

-- The one index makes notifications unique, is walked for the inbox, and counts what is unread.
create table notify.notification (
  recipient_id bigint not null,
  published_at timestamptz not null,
  blog_id bigint not null,
  read_at timestamptz,
  primary key (recipient_id, published_at, blog_id) include (read_at)
) partition by range (published_at);
alter table notify.notification alter column recipient_id set statistics 0;

comment on table notify.notification is
  'The inboxes. Narrow, since a blog can have a million rows: title, author and whether readers see the blog are asked when the inbox is read.';
comment on column notify.notification.recipient_id is 'The account that is notified.';
comment on column notify.notification.published_at is 'When the blog was first published.';
comment on column notify.notification.blog_id is 'The blog.';
comment on column notify.notification.read_at is 'When it was read.';

-- Makes one day of notifications: 'there', 'outside' or 'busy'. From yesterday to 60 days ahead any day can be made; an older
-- one only if a blog that is not deleted was first published on it, and none of more than ten years ago, the most
-- that `partitions.days_kept` allows. So a caller cannot make thousands of empty days, which every inbox would have to visit.
create function notify.create_day(wanted date) returns text
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

-- Drops the oldest day of notifications if it is older than `kept` days, and returns it; null if there is none, or another
-- session makes or drops a day. Never one of the last 7 days; a null keeps everything. Locks the parent against every
-- access, and waits at most 200 ms for that lock.
create function notify.drop_oldest_day(kept integer) returns date
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

-- The decisions of operators about a fan-out. Each locks its row, which a worker holds for the length of one chunk. False if
-- there was nothing to change.
create function notify.pause_fan_out(wanted bigint) returns boolean
language sql security definer set search_path = pg_catalog, pg_temp as $$
  with changed as (
    update notify.fan_out set state = 'paused' where blog_id = wanted and state = 'running' returning 1)
  select exists (select from changed)
$$;

create function notify.resume_fan_out(wanted bigint) returns boolean
language sql security definer set search_path = pg_catalog, pg_temp as $$
  with changed as (
    update notify.fan_out set state = 'running', turn_at = clock_timestamp()
    where blog_id = wanted and state in ('paused', 'withdrawn')
    returning 1)
  select exists (select from changed)
$$;

create function notify.cancel_fan_out(wanted bigint) returns boolean
language sql security definer set search_path = pg_catalog, pg_temp as $$
  with changed as (
    update notify.fan_out set state = 'cancelled', ended_at = clock_timestamp()
    where blog_id = wanted and state in ('running', 'paused', 'withdrawn')
    returning 1)
  select exists (select from changed)
$$;

-- How long a fan-out still takes at the pace that was measured last, in seconds; null if it does not run.
create function notify.seconds_left(state text, total bigint, looked_at bigint, rows_per_s double precision)
returns double precision
language sql immutable parallel safe
return case when state = 'running' and rows_per_s > 0 then greatest(total - looked_at, 0) / rows_per_s end;

-- The parts of an export.
create function notify.account_parts(wanted bigint) returns table (part text, item jsonb)
language sql stable as $$
  select 'notifications', jsonb_build_object('blog_id', n.blog_id, 'published_at', n.published_at, 'read_at', n.read_at)
  from notify.notification n
  where n.recipient_id = wanted
  order by n.published_at, n.blog_id
$$;

-- The notifications of an account.
create function notify.export_account(wanted bigint) returns table (part text, item jsonb)
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
begin
  perform blogs.require_export(wanted);
  return query select p.part, p.item from notify.account_parts(wanted) p;
end $$;

-- Removes every trace of an account from this schema. A fan-out that has just looked at the account continues from the id
-- before it: no account is between them. Locks the fan-outs, then the notifications, each in key order.
create function notify.erase_account(wanted bigint) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  if wanted is null or wanted < 1 then
    raise exception 'no account has the id %', wanted using errcode = '22023';
  end if;
  perform from notify.fan_out f where f.after_id = wanted order by f.blog_id for no key update;
  update notify.fan_out set after_id = wanted - 1 where after_id = wanted;
  perform from notify.notification n where n.recipient_id = wanted order by n.published_at, n.blog_id for update;
  delete from notify.notification where recipient_id = wanted;
end $$;

reset role;
