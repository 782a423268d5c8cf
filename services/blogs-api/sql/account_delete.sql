-- Deletes an account, which hides its blogs, and revokes its tokens; no row if the password has been replaced since it
-- was verified. Locks that account.
update blogs.account
set deleted_at = now(), token_epoch = token_epoch + 1
where id = $1::bigint and password_hash = $2::text and deleted_at is null
returning id
