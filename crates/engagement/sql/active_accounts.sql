-- Which of these accounts may act. Reads without a lock, and after the transaction has its id: who erases an account
-- waits for every transaction that might have seen it alive.
select id
from blogs.active_account
where id = any($1::bigint[])
