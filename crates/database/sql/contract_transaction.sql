-- The id of this transaction. Locks nothing.
select pg_catalog.pg_current_xact_id()::text
