-- The text that revokes CONNECT from PUBLIC on the other databases of an empty server. Locks nothing.
select coalesce(pg_catalog.string_agg(
         pg_catalog.format('revoke connect, temporary on database %I from public', d.datname), '; '), '')
from pg_catalog.pg_database d
where d.datname in ('postgres', 'template1') and d.datname <> pg_catalog.current_database()
  and pg_catalog.pg_has_role(d.datdba, 'member')
