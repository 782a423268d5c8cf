-- The text that gives role $1 the default $3 of the setting $2. Locks nothing.
select pg_catalog.format('alter role %I set %I = %L', $1::text, $2::text, $3::text)
