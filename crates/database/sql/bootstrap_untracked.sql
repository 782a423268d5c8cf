-- Keeps this transaction out of pg_stat_statements, which may be set to track nested statements. Locks nothing.
select pg_catalog.set_config('pg_stat_statements.track', 'top', true)
from pg_catalog.pg_roles r
where r.rolname = current_user and r.rolsuper
