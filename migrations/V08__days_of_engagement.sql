-- The days of the ledger and of the views. Workers may not run DDL; they call these functions. Each call touches one table, in
-- the caller's transaction, under an advisory lock that it only tries and with a short lock timeout: maintenance gives way
-- to traffic and is tried again. Owner: Analytics.

set local role analytics_owner;

create table analytics.ledger_floor (
  only_row boolean primary key default true check (only_row),
  day date not null,
  dropped_n bigint not null default 0
);
insert into analytics.ledger_floor (day) values ((now() at time zone 'utc')::date - 1);

comment on table analytics.ledger_floor is 'Where the ledger begins, and what dropped days held.';
comment on column analytics.ledger_floor.only_row is 'Always true: the table has one row.';
comment on column analytics.ledger_floor.day is 'No day below it is ever made.';
comment on column analytics.ledger_floor.dropped_n is 'The sum of n of the dropped days, so that the equation closes.';

create table analytics.old_day (
  parent text not null,
  day date not null,
  free_since timestamptz not null default now(),
  dropped_at timestamptz,
  primary key (parent, day)
);

comment on table analytics.old_day is 'Days that may be dropped, and days that were. A dropped day keeps its row, so that it is never made again.';
comment on column analytics.old_day.parent is 'envelope_ledger or blog_view.';
comment on column analytics.old_day.day is 'The day.';
comment on column analytics.old_day.free_since is
  'When maintenance first found the day old, the queue empty and no envelope of the day waiting. It is dropped a day later.';
comment on column analytics.old_day.dropped_at is 'When it was dropped.';

-- Today, by the one clock that decides about days.
create function analytics.today() returns date
language sql stable set search_path = pg_catalog, pg_temp
return (now() at time zone 'utc')::date;

-- The least id that an envelope made on a day, or later, can have.
create function analytics.first_id(day date) returns uuid
language sql immutable set search_path = pg_catalog, pg_temp
return (lpad(to_hex((extract(epoch from day::timestamp at time zone 'utc') * 1000)::bigint), 12, '0') || repeat('0', 20))::uuid;

-- The UTC day inside a UUIDv7.
create function analytics.day_of(id uuid) returns date
language sql immutable parallel safe set search_path = pg_catalog, pg_temp
return (to_timestamp(('x' || substr(replace(id::text, '-', ''), 1, 12))::bit(48)::bigint / 1000.0) at time zone 'utc')::date;

-- The bounds of a day's partition, as literals.
create function analytics.day_bounds(parent text, day date, out lower text, out upper text)
language sql immutable set search_path = pg_catalog, pg_temp as $$
  select case parent when 'envelope_ledger' then quote_literal(day) else quote_literal(day || ' 00:00:00+00') end,
         case parent when 'envelope_ledger' then quote_literal(day + 1) else quote_literal((day + 1) || ' 00:00:00+00') end
$$;

-- Makes one day of one table. 'there': it exists now. 'outside': it was dropped, or lies below the floor or more than 60
-- days ahead, and will not be made. 'busy': another session makes or drops a day of this table; ask again.
create function analytics.create_day(parent text, wanted date) returns text
language plpgsql strict security definer set search_path = pg_catalog, pg_temp set lock_timeout = '200ms' as $$
declare
  bounds record;
begin
  if parent not in ('envelope_ledger', 'blog_view') then
    raise exception 'not a table of days: %', parent using errcode = '22023';
  end if;
  if to_regclass('analytics.' || parent || '_' || to_char(wanted, 'YYYYMMDD')) is not null then
    return 'there';
  end if;
  if wanted < (select f.day from analytics.ledger_floor f) or wanted > analytics.today() + 60 then
    return 'outside';
  end if;
  -- Under the lock that drop_day holds until it commits, or a day could be made just after it was dropped.
  if not pg_try_advisory_xact_lock(hashtextextended('analytics.days.' || parent, 0)) then
    return 'busy';
  end if;
  if exists (select from analytics.old_day o
             where o.parent = create_day.parent and o.day = wanted and o.dropped_at is not null) then
    return 'outside';
  end if;
  bounds := analytics.day_bounds(parent, wanted);
  return days.make('analytics', parent, wanted, bounds.lower, bounds.upper);
end $$;

-- Decides, once, under which day the ledger holds an envelope from more than 60 days ahead. Null for any other
-- envelope. Forgets a decision when both days, the one decided on and the one inside the id, have been dropped: then the
-- envelope is late wherever the ledger looks. Waits at most 200 ms for a transaction that makes or drops a day.
create function analytics.place_ahead(wanted uuid) returns date
language plpgsql strict security definer set search_path = pg_catalog, pg_temp set lock_timeout = '200ms' as $$
declare
  today date := analytics.today();
  placed date;
begin
  if analytics.day_of(wanted) <= today + 60 then
    return null;
  end if;
  perform pg_advisory_xact_lock(hashtextextended('analytics.days.envelope_ledger', 0));
  delete from analytics.envelope_ahead a
  where exists (select from analytics.old_day o
                where o.parent = 'envelope_ledger' and o.day = a.day and o.dropped_at is not null)
    and exists (select from analytics.old_day o
                where o.parent = 'envelope_ledger' and o.day = analytics.day_of(a.id) and o.dropped_at is not null);
  insert into analytics.envelope_ahead (id, day) values (wanted, today) on conflict (id) do nothing;
  select a.day into placed from analytics.envelope_ahead a where a.id = wanted;
  return placed;
end $$;

-- The days of a table that are older than the days to keep, oldest first. A day that is marked as free and is not old (the
-- clock was ahead when it was marked) loses its mark.
create function analytics.old_days(parent text, kept integer) returns setof date
language sql strict security definer set search_path = pg_catalog, pg_temp as $$
  delete from analytics.old_day o
  where o.parent = old_days.parent and o.dropped_at is null and o.day >= analytics.today() - kept;
  select d.day
  from pg_inherits i
  join pg_class c on c.oid = i.inhrelid
  cross join lateral (select to_date(right(c.relname, 8), 'YYYYMMDD') as day) d
  where i.inhparent = to_regclass('analytics.' || quote_ident(parent)) and d.day < analytics.today() - kept
  order by d.day
$$;

-- Drops one day of one table; called only when the queue has just been found empty. True if the day is gone. A day is
-- dropped a day after it was first found free, if it still is: by then whatever had left the outbox and the queue without
-- being applied has been applied, or is in one of them again. A view may travel in an envelope of the next day, so a day of
-- views waits for envelopes of both days and for both days of the ledger. Locks the day, first against writes.
create function analytics.drop_day(parent text, wanted date, kept integer) returns boolean
language plpgsql strict security definer set search_path = pg_catalog, pg_temp set lock_timeout = '200ms' as $$
declare
  child text := parent || '_' || to_char(wanted, 'YYYYMMDD');
  of_ledger text := 'analytics.envelope_ledger_';
  last date := wanted + case parent when 'blog_view' then 1 else 0 end;
  lower uuid := analytics.first_id(wanted);
  upper uuid := analytics.first_id(last + 1);
  n_dropped bigint := 0;
begin
  if parent not in ('envelope_ledger', 'blog_view') then
    raise exception 'not a table of days: %', parent using errcode = '22023';
  end if;
  if kept < 2 then
    raise exception 'at least 2 days are kept, not %', kept using errcode = '22023';
  end if;
  if not pg_try_advisory_xact_lock(hashtextextended('analytics.days.' || parent, 0)) then
    return false;
  end if;
  if to_regclass('analytics.' || child) is null then
    return true;
  end if;
  if last >= analytics.today() - kept
     or exists (select from blogs.outbox o where o.id >= lower and o.id < upper)
     or exists (select from analytics.parked p
                where p.envelope_id >= lower and p.envelope_id < upper
                  and analytics.is_waiting(p.redriven_at, p.dropped_at))
  then
    delete from analytics.old_day o where o.parent = drop_day.parent and o.day = wanted;
    return false;
  end if;
  -- A mark of the future is of a clock that was ahead.
  insert into analytics.old_day as o (parent, day) values (drop_day.parent, wanted)
  on conflict on constraint old_day_pkey do update set free_since = least(o.free_since, excluded.free_since);
  if not exists (select from analytics.old_day o
                 where o.parent = drop_day.parent and o.day = wanted and o.free_since <= now() - interval '1 day')
     or parent = 'blog_view' and (to_regclass(of_ledger || to_char(wanted, 'YYYYMMDD')) is not null
                                  or to_regclass(of_ledger || to_char(last, 'YYYYMMDD')) is not null)
  then
    return false;
  end if;
  if parent = 'envelope_ledger' then
    -- Readers go on while the day is summed. A batch that is inserting into it has committed then, or the timeout ends this.
    execute format('lock table analytics.%I in share mode', child);
    execute format('select coalesce(sum(n), 0) from analytics.%I', child) into n_dropped;
    update analytics.ledger_floor set dropped_n = dropped_n + n_dropped;
  end if;
  execute format('drop table analytics.%I', child);
  update analytics.old_day o set dropped_at = now() where o.parent = drop_day.parent and o.day = wanted;
  return true;
end $$;

-- Forgets expired keys, except those of parked events that wait; at most `most`, and a million.
create function analytics.forget_event_keys(most integer) returns bigint
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

reset role;
