-- Allows one bootstrap at a time in this cluster. Locks an advisory key until the end of the transaction.
select pg_catalog.pg_advisory_xact_lock(pg_catalog.hashtextextended('commonplace.bootstrap', 0))
