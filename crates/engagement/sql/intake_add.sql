-- Adds events to the intake of this minute and this backend's slot, and records the time if not all of them were parked.
-- Locks one row, before the rows of the outcomes.
insert into analytics.intake as old (ring, slot, minute, events, good_at)
select extract(minute from now() at time zone 'utc')::smallint, pg_catalog.pg_backend_pid() % 64,
       date_trunc('minute', now()), $1::bigint, case when $2::boolean then now() end
on conflict (ring, slot) do update
set minute = excluded.minute,
    events = excluded.events + case when old.minute = excluded.minute then old.events else 0 end,
    good_at = greatest(old.good_at, excluded.good_at)
