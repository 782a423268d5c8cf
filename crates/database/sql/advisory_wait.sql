-- How long a wait for a lock may take, in this transaction alone if $2. Locks nothing.
select pg_catalog.set_config('lock_timeout', $1::text, $2::boolean)
