-- The texts that take every default from role $1, in the cluster and in this database. Locks nothing.
select pg_catalog.format('alter role %I reset all', $1::text)
union all
select pg_catalog.format('alter role %I in database %I reset all', $1::text, pg_catalog.current_database())
