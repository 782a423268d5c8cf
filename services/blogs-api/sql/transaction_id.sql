-- Gives the transaction its id before it reads an account: erasing waits for all older transactions. Locks nothing.
select pg_catalog.pg_current_xact_id()::text as id
