-- Inserts keys and returns those that were free. A key is remembered for at least 48 hours from now; otherwise the key of
-- an event from a long backlog could be forgotten too early. Locks the new rows in key order.
insert into analytics.event_key (key, expires_at)
select k.key, case when k.expires_at is not null then greatest(k.expires_at, now() + interval '48 hours') end
from unnest($1::uuid[], $2::timestamptz[]) as k (key, expires_at)
order by k.key
on conflict (key) do nothing
returning key
