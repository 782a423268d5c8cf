-- Claims the oldest waiting envelopes for one relay until its lease ends: at most $1 of them, and no further one once $2
-- bytes are reached. The oldest is claimed whatever its size. Envelopes whose routing key this relay does not know are left
-- out; a newer release may have written them. Locks the candidates, skipping those that another relay is claiming.
with waiting as materialized (
  select o.id, octet_length(o.body) as bytes
  from blogs.outbox o
  where (o.claimed_until is null or o.claimed_until < now()) and o.routing_key = any ($4::text[])
  order by o.id
  limit $1::bigint
  for no key update skip locked
), measured as (
  select w.id, sum(w.bytes) over (order by w.id) - w.bytes as bytes_before
  from waiting w
)
update blogs.outbox o
set claimed_until = now() + $3::bigint * interval '1 millisecond', attempts = o.attempts + 1
where o.id = any (array(select m.id from measured m where m.bytes_before < $2::bigint))
returning o.id, o.routing_key, o.events, o.body, o.traceparent
