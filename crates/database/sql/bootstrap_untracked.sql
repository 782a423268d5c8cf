-- Keeps the nested statements of this transaction out of pg_stat_statements, even if the server is set to track them. Only a
-- superuser may set this; for another role it does nothing. Locks nothing.
select pg_catalog.set_config('pg_stat_statements.track', 'top', true)
from pg_catalog.pg_roles r
where r.rolname = current_user and r.rolsuper
