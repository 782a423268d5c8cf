-- Stores engagement envelopes that the broker did not confirm in time, for the relay to publish. An envelope that is
-- already stored stays unchanged: an earlier attempt had an unknown outcome. Locks the new rows only.
insert into blogs.outbox (id, routing_key, events, body, traceparent)
select e.id, e.routing_key, e.events, e.body, e.traceparent
from unnest($1::uuid[], $2::text[], $3::integer[], $4::bytea[], $5::text[])
  as e (id, routing_key, events, body, traceparent)
order by e.id
on conflict (id) do nothing
