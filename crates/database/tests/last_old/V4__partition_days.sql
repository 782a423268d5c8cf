-- The days of the ledger and of the views. Workers may not run DDL; they call these functions of the owner.
-- Each call touches one table, in the caller's transaction, under an advisory lock that is only tried and a
-- short lock timeout: maintenance gives way to traffic and comes again.

set local role analytics_owner;

-- The tables that are partitioned by day, and how a day's bounds are written for each.
create function analytics.day_bounds(parent text, day date, out lower text, out upper text)
language sql immutable set search_path = '' as $$
  select case parent when 'envelope_ledger' then quote_literal(day) else quote_literal(day || ' 00:00:00+00') end,
         case parent when 'envelope_ledger' then quote_literal(day + 1) else quote_literal((day + 1) || ' 00:00:00+00') end
$$;

-- Makes one day of one table. 'there': it is there now. 'outside': it lies below the floor or more than 60 days
-- ahead, and will not be made. 'busy': somebody else is at it just now, ask again. A day is made as a table of its
-- own and then attached: attaching lets readers and writers go on, `partition of` would stop them.
create function analytics.create_day(parent text, wanted date) returns text
language plpgsql security definer set search_path = '' set lock_timeout = '200ms' as $$
declare
  child text := parent || '_' || to_char(wanted, 'YYYYMMDD');
  bounds record;
begin
  if parent not in ('envelope_ledger', 'blog_view') then
    raise exception 'not a table of days: %', parent using errcode = '22023';
  end if;
  if to_regclass('analytics.' || child) is not null then
    return 'there';
  end if;
  if wanted < (select f.day from analytics.ledger_floor f) or wanted > (now() at time zone 'utc')::date + 60 then
    return 'outside';
  end if;
  if not pg_try_advisory_xact_lock(hashtextextended('analytics.days.' || parent, 0)) then
    return 'busy';
  end if;
  if to_regclass('analytics.' || child) is not null then
    return 'there';
  end if;
  bounds := analytics.day_bounds(parent, wanted);
  execute format('create table analytics.%I (like analytics.%I including all)', child, parent);
  execute format('alter table analytics.%I attach partition analytics.%I for values from (%s) to (%s)',
                 parent, child, bounds.lower, bounds.upper);
  return 'there';
end $$;

-- Raises the floor, never lowers it, and lets a candidate settle that has stood for a day; the floor of now is then
-- the next candidate.
create function analytics.raise_floor(wanted date) returns date
language sql security definer set search_path = '' set lock_timeout = '200ms' as $$
  update analytics.ledger_floor f
  set day = raised.day,
      settled_day = case when raised.settles then f.candidate_day else f.settled_day end,
      candidate_day = case when raised.settles then raised.day else f.candidate_day end,
      candidate_at = case when raised.settles then now() else f.candidate_at end
  from (select greatest(o.day, least(wanted, (now() at time zone 'utc')::date - 1)) as day,
               o.candidate_at <= now() - interval '1 day' as settles
        from analytics.ledger_floor o for update) as raised
  returning f.day
$$;

-- The oldest day of a table whose partition exists, null when there is none.
create function analytics.oldest_day(parent text) returns date
language sql stable security definer set search_path = '' as $$
  select min(to_date(right(c.relname, 8), 'YYYYMMDD'))
  from pg_catalog.pg_inherits i
  join pg_catalog.pg_class c on c.oid = i.inhrelid
  where i.inhparent = to_regclass('analytics.' || quote_ident(parent))
$$;

-- Drops one day of one table. True if it is gone. False, and nothing happens, while it is not yet a full day
-- below a floor that has stood for a day, or while an envelope of it may still come: in the outbox, or parked.
-- A day of views outlives the ledger's by one, since an event may be older than the envelope that carries it.
create function analytics.drop_day(parent text, wanted date) returns boolean
language plpgsql security definer set search_path = '' set lock_timeout = '200ms' as $$
declare
  child text := parent || '_' || to_char(wanted, 'YYYYMMDD');
  keep interval := case parent when 'blog_view' then interval '1 day' else interval '0' end;
  below uuid := (lpad(to_hex((extract(epoch from (wanted + 1)::timestamp at time zone 'utc') * 1000)::bigint), 12, '0')
                 || repeat('0', 20))::uuid;
  n_dropped bigint := 0;
begin
  if parent not in ('envelope_ledger', 'blog_view') then
    raise exception 'not a table of days: %', parent using errcode = '22023';
  end if;
  if not pg_try_advisory_xact_lock(hashtextextended('analytics.days.' || parent, 0)) then
    return false;
  end if;
  if not exists (select from analytics.ledger_floor f
                 where wanted + keep < f.settled_day
                    or wanted + keep < f.candidate_day and f.candidate_at <= now() - interval '1 day')
     or exists (select from blogs.outbox o where o.id < below)
     or exists (select from analytics.parked p where p.envelope_id < below and p.redriven_at is null and p.in_ledger)
  then
    return false;
  end if;
  if to_regclass('analytics.' || child) is null then
    return true;
  end if;
  if parent = 'envelope_ledger' then
    execute format('select coalesce(sum(n), 0) from analytics.%I', child) into n_dropped;
    update analytics.ledger_floor set dropped_n = dropped_n + n_dropped;
  end if;
  execute format('drop table analytics.%I', child);
  return true;
end $$;

-- Forgets keys whose time is over, a bounded number at a time. Imported keys have no expiry.
create function analytics.forget_event_keys(most integer) returns bigint
language sql security definer set search_path = '' as $$
  with gone as (
    delete from analytics.event_key where key in (
      select key from analytics.event_key where expires_at < now() order by expires_at limit most for update skip locked)
    returning 1)
  select count(*) from gone
$$;

reset role;

set local role blogs_owner;
-- For drop_day: does an envelope of that day still wait?
grant select (id) on blogs.outbox to analytics_owner;
reset role;
