-- Erases what an account has left, in one transaction, first where likes and notifications are. Locks those, then the
-- account's blogs and follows.
select analytics.erase_account($1::bigint), notify.erase_account($1::bigint), blogs.erase_account($1::bigint)
