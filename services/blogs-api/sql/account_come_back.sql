-- Restores an account that was deleted less than $3 days ago; no row if its password has been removed or replaced since
-- it was verified. Its earlier tokens stay revoked. Locks that account.
update blogs.account
set deleted_at = null
where id = $1::bigint and password_hash = $2::text and suspended_at is null
  and deleted_at > now() - make_interval(days => $3::integer)
returning token_epoch, created_at
