-- Forgets answers of more than a day ago, the oldest first, so many at a time. One process at a time does so: the
-- others find nothing. Locks the rows it removes.
with turn as materialized (
  select pg_try_advisory_xact_lock(hashtextextended('blogs.idempotency_forget', 0)) as is_mine)
delete from blogs.idempotency_key
where (account_id, key) in (
  select k.account_id, k.key
  from blogs.idempotency_key k
  where k.created_at < now() - interval '24 hours' and (select is_mine from turn)
  order by k.created_at
  limit $1::bigint)
