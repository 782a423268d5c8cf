-- Uses the account's open request for an export and records who exports; refused without one. Locks the new record.
select blogs.open_export($1::bigint) as request_id
