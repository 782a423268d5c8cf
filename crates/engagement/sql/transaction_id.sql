-- Gives the transaction its id, where nothing has been written yet that would. Locks nothing.
select pg_catalog.pg_current_xact_id()::text as id
