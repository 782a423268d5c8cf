-- How long a fan-out still takes, for everybody who shows it. Owner: Notification. Locks nothing.
set local role notify_owner;

-- At the pace that was measured last, in seconds; null while it does not move.
create function notify.seconds_left(state text, total bigint, looked_at bigint, rows_per_s double precision)
returns double precision
language sql immutable parallel safe
return case when state = 'running' and rows_per_s > 0 then greatest(total - looked_at, 0) / rows_per_s end;

grant execute on function notify.seconds_left(text, bigint, bigint, double precision) to blogs_api, operator;

reset role;
