-- Marks this server and this database as the home of the data. Locks the mark.
insert into public.home (system_identifier, database_oid)
select s.system_identifier, d.oid::bigint
from pg_catalog.pg_control_system() s
cross join pg_catalog.pg_database d
where d.datname = pg_catalog.current_database()
on conflict (only_row) do update
set system_identifier = excluded.system_identifier, database_oid = excluded.database_oid, marked_at = excluded.marked_at
