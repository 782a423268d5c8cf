-- All objects and settings of the whole server except scratch databases, one line and value each. Locks nothing.
select 'role ' || r.rolname || ': ' || f.key as line, coalesce(f.value, 'null') as value
from pg_catalog.pg_roles r
cross join lateral pg_catalog.jsonb_each_text(
  pg_catalog.to_jsonb(r) - array['oid', 'rolname', 'rolpassword', 'rolconfig']) f
union all
select 'membership of ' || pg_catalog.pg_get_userbyid(m.member) || ' in ' || pg_catalog.pg_get_userbyid(m.roleid)
         || ', granted by ' || pg_catalog.pg_get_userbyid(m.grantor),
       (pg_catalog.to_jsonb(m) - array['oid', 'roleid', 'member', 'grantor'])::text
from pg_catalog.pg_auth_members m
union all
select 'setting ' || pg_catalog.split_part(c, '=', 1)
         || case when s.setrole = 0 then '' else ' of role ' || pg_catalog.pg_get_userbyid(s.setrole) end
         || coalesce(' in database ' || d.datname, ''),
       pg_catalog.substr(c, pg_catalog.strpos(c, '=') + 1)
from pg_catalog.pg_db_role_setting s
cross join lateral pg_catalog.unnest(s.setconfig) c
left join pg_catalog.pg_database d on d.oid = s.setdatabase
where d.datname is null or d.datname not like 'commonplace\_contract\_%'
union all
select 'database ' || d.datname || ': ' || f.key, coalesce(f.value, 'null')
from pg_catalog.pg_database d
cross join lateral pg_catalog.jsonb_each_text(
  pg_catalog.to_jsonb(d) - array['oid', 'datname', 'datfrozenxid', 'datminmxid']
  || pg_catalog.jsonb_build_object('datdba', pg_catalog.pg_get_userbyid(d.datdba))) f
where d.datname not like 'commonplace\_contract\_%'
union all
select 'tablespace ' || t.spcname || ': ' || f.key, coalesce(f.value, 'null')
from pg_catalog.pg_tablespace t
cross join lateral pg_catalog.jsonb_each_text(pg_catalog.to_jsonb(t) - array['oid', 'spcname']
  || pg_catalog.jsonb_build_object('spcowner', pg_catalog.pg_get_userbyid(t.spcowner))) f
union all
select 'privileges on parameter ' || p.parname, coalesce(p.paracl::text, 'null')
from pg_catalog.pg_parameter_acl p
union all
-- Only the server's own settings: those of extensions appear when a session loads one.
select 'server setting ' || s.name,
       coalesce(case when s.name ~ 'conninfo|command|passphrase' then pg_catalog.left(pg_catalog.md5(s.reset_val), 8)
                     else s.reset_val end, 'null')
from pg_catalog.pg_settings s
where s.context <> 'internal' and s.name not like '%.%'
