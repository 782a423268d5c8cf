-- Deletes responses that are older than a day, oldest first, at most $1 at a time. Only one process at a time does so;
-- for the others this statement finds nothing. Locks the rows it deletes, skipping those that others hold, such as a
-- transaction that erases an account; so it never waits while it holds rows.
with turn as materialized (
  select blogs.turn_to_forget() as is_mine),
old as materialized (
  select k.account_id, k.key
  from blogs.idempotency_key k
  where k.created_at < now() - interval '24 hours' and (select is_mine from turn)
  order by k.created_at
  limit $1::bigint
  for update skip locked)
delete from blogs.idempotency_key k
using old
where k.account_id = old.account_id and k.key = old.key
