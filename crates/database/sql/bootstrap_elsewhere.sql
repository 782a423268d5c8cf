-- The text that revokes CONNECT and TEMPORARY from PUBLIC on the databases `postgres` and `template1`, where the administrator
-- may. Leaves out the current database. Locks nothing.
select coalesce(pg_catalog.string_agg(
         pg_catalog.format('revoke connect, temporary on database %I from public', d.datname), '; '), '')
from pg_catalog.pg_database d
where d.datname in ('postgres', 'template1') and d.datname <> pg_catalog.current_database()
  and pg_catalog.pg_has_role(d.datdba, 'member')
