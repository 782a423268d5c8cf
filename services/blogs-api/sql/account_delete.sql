-- Deletes an account, which takes its blogs from sight, and takes back its tokens; nothing if the password is another one by
-- now than the one that was checked. Locks that account.
update blogs.account
set deleted_at = now(), token_epoch = token_epoch + 1
where id = $1::bigint and password_hash = $2::text and deleted_at is null
returning id
