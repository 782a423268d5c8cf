-- The id of a new transaction, which is higher than every id given out before. Locks nothing.
select pg_catalog.pg_current_xact_id()::text::bigint as id
