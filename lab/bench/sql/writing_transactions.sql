-- The number of writing transactions (with a transaction id) of the whole cluster since it was made. Locks nothing.
select (pg_snapshot_xmax(pg_current_snapshot())::text)::bigint as transactions
