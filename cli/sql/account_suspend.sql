-- Suspends an account through its owner. Locks that account.
select blogs.suspend_account($1::bigint) as has_changed
