-- What a page calls the account that reads it. Locks nothing.
select a.handle from blogs.account a where a.id = $1::bigint
