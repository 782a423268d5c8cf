-- Limits how long a wait for a lock may take; only in this transaction if $2 is true. Locks nothing.
select pg_catalog.set_config('lock_timeout', $1::text, $2::boolean)
