-- Adds to the outcomes in this backend's slot. Locks the rows in key order. This is the last table of a batch, because all
-- writers share these rows.
insert into analytics.outcome as old (hour, kind, outcome, slot, n)
select o.hour, o.kind, o.outcome, pg_catalog.pg_backend_pid() % 64, o.n
from unnest($1::timestamptz[], $2::text[], $3::text[], $4::bigint[]) as o (hour, kind, outcome, n)
order by o.hour, o.kind, o.outcome
on conflict (hour, kind, outcome, slot) do update set n = old.n + excluded.n
