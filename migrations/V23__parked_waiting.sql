-- The one rule of which parked events wait for somebody to decide about them, for whoever is not Analytics.

set local role analytics_owner;

create function analytics.is_waiting(p analytics.parked) returns boolean
language sql stable parallel safe
return p.redriven_at is null and p.dropped_at is null;

grant execute on function analytics.is_waiting(analytics.parked) to operator;

reset role;
