-- The id of a transaction that begins now. Every transaction that already has an id has a lower one. Locks nothing.
select pg_catalog.pg_current_xact_id()::text::bigint as id
