-- What role $1 needs to connect to this database and to write to it correctly; no row if it does not exist. Locks nothing.
select r.rolcanlogin as logs_in,
       coalesce(r.rolvaliduntil <= pg_catalog.now(), false) as expired,
       r.rolconnlimit = 0 as no_connections,
       pg_catalog.has_database_privilege(r.oid, d.oid, 'connect') as connects,
       array(select g.rolname::text
             from pg_catalog.pg_roles g
             where g.oid <> r.oid and pg_catalog.pg_has_role(r.oid, g.oid, 'member')
             order by 1) as groups,
       -- Changing one of these can make statements fail or lose commits. The most specific setting applies.
       array(select distinct on (pg_catalog.split_part(c, '=', 1)) c
             from pg_catalog.pg_db_role_setting s
             cross join lateral pg_catalog.unnest(s.setconfig) c
             where s.setrole in (r.oid, 0) and s.setdatabase in (d.oid, 0)
               and pg_catalog.split_part(c, '=', 1) in ('default_transaction_read_only', 'role', 'synchronous_commit')
             order by pg_catalog.split_part(c, '=', 1), s.setrole <> 0 desc, s.setdatabase <> 0 desc) as settings
from pg_catalog.pg_roles r
join pg_catalog.pg_database d on d.datname = pg_catalog.current_database()
where r.rolname = $1::text
