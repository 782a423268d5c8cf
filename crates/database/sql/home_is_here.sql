-- Whether the mark names this server and this database; no row if there is no mark. Locks nothing.
select h.system_identifier = s.system_identifier and h.database_oid = d.oid::bigint as is_here
from public.home h
cross join pg_catalog.pg_control_system() s
cross join pg_catalog.pg_database d
where d.datname = pg_catalog.current_database()
