-- Deletes envelopes that have been published and confirmed. Locks them in the order of their ids.
with published as materialized (
  select o.id from blogs.outbox o where o.id = any ($1::uuid[]) order by o.id for update
)
delete from blogs.outbox o using published p where o.id = p.id
