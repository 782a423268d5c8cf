-- Inserts one envelope to be published. Locks the new row only.
insert into blogs.outbox (id, routing_key, events, body, traceparent)
values ($1::uuid, $2::text, $3::integer, $4::bytea, $5::text)
