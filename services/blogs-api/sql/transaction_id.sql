-- Gives the transaction its id before it looks at an account: erasing waits for all older ones. Locks nothing.
select pg_catalog.pg_current_xact_id()::text as id
