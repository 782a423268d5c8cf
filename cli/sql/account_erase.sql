-- Erases the rest of an account in one transaction, likes and notifications first. Locks those rows, then the account's blogs
-- and follows.
select analytics.erase_account($1::bigint), notify.erase_account($1::bigint), blogs.erase_account($1::bigint)
