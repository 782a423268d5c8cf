-- Tables with one partition a day. Analytics and Notification use these functions inside their own, with their own rights.
-- Owner: the administrator.

create schema days;
comment on schema days is 'Functions for tables with one partition a day. Owner: the administrator.';

grant usage on schema days to analytics_owner, notify_owner;

-- Makes one day of a table. 'there': it exists now. 'busy': another session makes or drops a day of this table; ask
-- again. A day is made as a table of its own and then attached: attaching blocks neither readers nor writers, `partition
-- of` would block both.
create function days.make(owner text, parent text, day date, lower text, upper text) returns text
language plpgsql set search_path = pg_catalog, pg_temp as $$
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

-- The oldest day of a table that has a partition; null if there is none.
create function days.oldest(owner text, parent text) returns date
language sql stable set search_path = pg_catalog, pg_temp as $$
  select min(to_date(right(c.relname, 8), 'YYYYMMDD'))
  from pg_catalog.pg_inherits i
  join pg_catalog.pg_class c on c.oid = i.inhrelid
  where i.inhparent = to_regclass(format('%I.%I', owner, parent))
$$;

revoke execute on all functions in schema days from public;
grant execute on all functions in schema days to analytics_owner, notify_owner;
