-- Allows one migration run at a time in this database. Locks an advisory key for the session.
select pg_catalog.pg_advisory_lock(pg_catalog.hashtextextended('commonplace.migrations', 0))
