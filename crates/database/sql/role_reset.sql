-- The texts that reset all defaults of role $1, in the cluster and in this database. Locks nothing.
select pg_catalog.format('alter role %I reset all', $1::text)
union all
select pg_catalog.format('alter role %I in database %I reset all', $1::text, pg_catalog.current_database())
