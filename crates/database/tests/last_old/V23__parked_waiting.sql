-- The one rule of which parked events wait for somebody to decide about them, for whoever is not Analytics.

set local role analytics_owner;

create function analytics.is_waiting(redriven_at timestamptz, dropped_at timestamptz) returns boolean
language sql immutable parallel safe
return redriven_at is null and dropped_at is null;

grant execute on function analytics.is_waiting(timestamptz, timestamptz) to operator, console;

reset role;
