-- A superuser's pg_stat_statements could be told to keep nested statements, too; not those of this transaction. Locks nothing.
select pg_catalog.set_config('pg_stat_statements.track', 'top', true)
from pg_catalog.pg_roles r
where r.rolname = current_user and r.rolsuper
