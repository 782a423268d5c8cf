-- Deletes an account through its owner before it is erased, with its e-mail address and password. Locks that account.
select blogs.retire_account($1::bigint) as has_changed
