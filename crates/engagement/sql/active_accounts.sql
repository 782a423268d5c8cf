-- Returns those accounts that may act. Locks nothing. The transaction must already have its id: erasing an account takes an
-- id too, and waits until every transaction with a lower one has ended, so it misses none that saw the account as active.
select id
from blogs.active_account
where id = any($1::bigint[])
