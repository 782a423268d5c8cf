-- Takes keys and returns those that were free. A key is remembered from when it is taken, at the least: what comes
-- late, out of a long backlog, would find it forgotten else. Locks the new rows in key order.
insert into analytics.event_key (key, expires_at)
select k.key, case when k.expires_at is not null then greatest(k.expires_at, now() + interval '48 hours') end
from unnest($1::uuid[], $2::timestamptz[]) as k (key, expires_at)
order by k.key
on conflict (key) do nothing
returning key
