-- Deletes an account, which takes its blogs from sight, and takes back its tokens. Locks that account.
update blogs.account
set deleted_at = now(), token_epoch = token_epoch + 1
where id = $1::bigint and deleted_at is null
