-- Takes the deletion of an account back that was deleted less than $3 days ago; nothing if it has forgotten its password or
-- has another one by now than the one that was checked. Tokens stay taken back. Locks that account.
update blogs.account
set deleted_at = null
where id = $1::bigint and password_hash = $2::text and suspended_at is null
  and deleted_at > now() - make_interval(days => $3::integer)
returning token_epoch, created_at
