-- Whether role $1 is a member of role $2. Locks nothing.
select pg_catalog.pg_has_role($1::text, $2::text, 'member')
