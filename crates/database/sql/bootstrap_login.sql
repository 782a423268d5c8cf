-- The text that gives role $1 the password verifier $2 and the connection limit $3. Locks nothing.
select pg_catalog.format('alter role %I password %L connection limit %s', $1::text, $2::text, $3::integer)
