-- Releases claimed envelopes before their lease ends, because they could not be published. Locks them in the order of
-- their ids.
with unpublished as materialized (
  select o.id from blogs.outbox o where o.id = any ($1::uuid[]) order by o.id for no key update
)
update blogs.outbox o set claimed_until = null from unpublished u where o.id = u.id
