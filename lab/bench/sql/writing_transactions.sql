-- Transactions of the whole cluster that have been given a number because they write, since it began. Locks nothing.
select (pg_snapshot_xmax(pg_current_snapshot())::text)::bigint as transactions
