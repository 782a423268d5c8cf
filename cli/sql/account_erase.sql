-- Erases what an account has left, in one transaction, first where likes are. Locks those likes, then the account's blogs.
select analytics.erase_account($1::bigint), blogs.erase_account($1::bigint)
