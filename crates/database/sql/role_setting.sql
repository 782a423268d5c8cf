-- The text that sets role $1's default for the setting $2 to $3. Locks nothing.
select pg_catalog.format('alter role %I set %I = %L', $1::text, $2::text, $3::text)
