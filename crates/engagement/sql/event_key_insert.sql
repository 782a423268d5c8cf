-- Takes keys and returns those that were free. Locks the new rows in key order.
insert into analytics.event_key (key, expires_at)
select k.key, k.expires_at
from unnest($1::uuid[], $2::timestamptz[]) as k (key, expires_at)
order by k.key
on conflict (key) do nothing
returning key
