-- Uses the account's open request for an export and records the operator; fails without a request. Locks the new record.
select blogs.open_export($1::bigint) as request_id
