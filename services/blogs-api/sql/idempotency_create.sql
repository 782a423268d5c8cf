-- Stores a response under its key; no row if another request with the key came first. Locks the new row.
insert into blogs.idempotency_key (account_id, key, request_hash, status, response)
values ($1::bigint, $2::text, $3::bytea, $4::smallint, $5::jsonb)
on conflict (account_id, key) do nothing
