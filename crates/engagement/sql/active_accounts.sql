-- Returns those accounts that may act. Locks nothing. The transaction already has its id: erasing an account waits for
-- every transaction that may have seen the account alive.
select id
from blogs.active_account
where id = any($1::bigint[])
