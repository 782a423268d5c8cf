-- The console looks, and changes nothing: at both sides of the equation, at why events were parked (never at what they
-- say), and at fan-outs.

grant usage on schema analytics to console;
grant usage on schema notify to console;

set local role analytics_owner;

grant select (n) on analytics.envelope_ledger to console;
grant select (dropped_n) on analytics.ledger_floor to console;
grant select (kind, outcome, n) on analytics.outcome to console;
grant select (kind, reason, sqlstate, first_seen_at, redriven_at, dropped_at) on analytics.parked to console;

reset role;

set local role notify_owner;

-- The newest are shown, however many there have been.
create index fan_out_newest on notify.fan_out (created_at desc);

grant select (blog_id, state, turn_at, total, looked_at, notified, rows_per_s, created_at, ended_at) on notify.fan_out to console;

reset role;
