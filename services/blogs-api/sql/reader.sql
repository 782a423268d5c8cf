-- Returns the handle of the account that reads a page. Locks nothing.
select a.handle from blogs.account a where a.id = $1::bigint
