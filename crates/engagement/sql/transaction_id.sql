-- Gives the transaction its id, where nothing has been written yet that would; returns its time. Locks nothing.
select pg_catalog.pg_current_xact_id()::text as id, now() as now
