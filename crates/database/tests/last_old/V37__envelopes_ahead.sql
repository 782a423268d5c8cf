-- Envelopes whose id comes from a clock that ran far ahead. Owner: Analytics. Locks nothing that a service waits for.
set local role analytics_owner;

-- The ledger is partitioned by the day inside an envelope's id. A day more than 60 days ahead has no partition, so the
-- ledger holds such an envelope under the day on which it first arrived. The row remembers that day: a redelivery, at
-- any time, finds the envelope where the first delivery put it.
create table analytics.envelope_ahead (
  id uuid primary key,
  day date not null
);

-- The UTC day inside a UUIDv7.
create function analytics.day_of(id uuid) returns date
language sql immutable parallel safe set search_path = pg_catalog, pg_temp
return (to_timestamp(('x' || substr(replace(id::text, '-', ''), 1, 12))::bit(48)::bigint / 1000.0) at time zone 'utc')::date;

-- Decides, once, under which day the ledger holds an envelope from more than 60 days ahead. Null for any other
-- envelope. Forgets decisions when both days, the one decided on and the one inside the id, have been dropped: then the
-- envelope is late wherever the ledger looks. Waits at most 200 ms for a transaction that makes or drops a day.
create function analytics.place_ahead(wanted uuid) returns date
language plpgsql security definer set search_path = pg_catalog, pg_temp set lock_timeout = '200ms' as $$
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

revoke execute on function analytics.day_of(uuid), analytics.place_ahead(uuid) from public;
grant select on analytics.envelope_ahead to engagement_writer;
grant execute on function analytics.place_ahead(uuid) to engagement_writer;

reset role;
