-- Assigns the transaction its id before it has written anything, and returns its time. Locks nothing.
select pg_catalog.pg_current_xact_id()::text as id, now() as now
