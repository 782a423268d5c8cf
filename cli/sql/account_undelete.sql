-- Undoes the deletion of an account through its owner. Locks that account.
select blogs.undelete_account($1::bigint) as has_changed
