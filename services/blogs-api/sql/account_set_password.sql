-- Sets a new password and revokes all tokens; no row if the old hash has been replaced since it was read. Locks that
-- account.
update blogs.account
set password_hash = $3::text, token_epoch = token_epoch + 1
where id = $1::bigint and password_hash = $2::text and exists (select from blogs.active_account a where a.id = $1::bigint)
returning token_epoch, created_at
