-- The text that closes the databases of an empty server, other than this one, to roles that were not granted them. Locks nothing.
select coalesce(pg_catalog.string_agg(
         pg_catalog.format('revoke connect, temporary on database %I from public', d.datname), '; '), '')
from pg_catalog.pg_database d
where d.datname in ('postgres', 'template1') and d.datname <> pg_catalog.current_database()
  and pg_catalog.pg_has_role(d.datdba, 'member')
