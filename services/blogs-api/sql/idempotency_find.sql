-- Returns the response stored under a key. Locks nothing.
select request_hash, status, response
from blogs.idempotency_key
where account_id = $1::bigint and key = $2::text
