-- Undoes a suspension through the account's owner. Locks that account.
select blogs.restore_account($1::bigint) as has_changed
