-- Revokes all tokens of an account. Locks that account.
update blogs.account
set token_epoch = token_epoch + 1
where id = $1::bigint and deleted_at is null
returning token_epoch, created_at
