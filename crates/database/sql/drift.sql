-- How login roles and this database differ from their definition, one sentence per row. Passwords cannot be compared.
-- $1 roles, $2 whether each inherits, $3 connection limit of each (null: do not compare); $4 role, $5 name and $6 value of each
-- default; $7 the group of each role, $8 whether the role must be a member (null: either is right); $9 catalog
-- functions that no login role may call; $10 whether the other databases must be closed. Locks nothing.
with wanted as (
  select w.name, w.inherits, w.connections, w.member_of, w.is_member
  from unnest($1::text[], $2::boolean[], $3::integer[], $7::text[], $8::boolean[])
    as w (name, inherits, connections, member_of, is_member)),
role as (
  select w.name, w.inherits, w.connections, w.member_of, w.is_member, r.oid, r.rolconnlimit, r.rolinherit, r.rolcanlogin,
         r.rolsuper, r.rolcreaterole, r.rolcreatedb, r.rolreplication, r.rolbypassrls
  from wanted w
  left join pg_catalog.pg_roles r on r.rolname = w.name),
attribute as (
  select r.name, a.what
  from role r
  cross join lateral (values
    (r.oid is null, 'does not exist'),
    (r.rolsuper, 'is a superuser'),
    (r.rolcreaterole, 'may create roles'),
    (r.rolcreatedb, 'may create databases'),
    (r.rolreplication, 'may replicate'),
    (r.rolbypassrls, 'bypasses row security'),
    (not r.rolcanlogin, 'cannot log in'),
    (r.rolinherit <> r.inherits, case when r.inherits then 'does not inherit' else 'inherits' end),
    (r.rolconnlimit <> r.connections,
     format('may hold %s connections instead of %s', r.rolconnlimit, r.connections))) as a (holds, what)
  where a.holds),
member as (
  select r.name, format('is a member of %s', g.rolname) as what
  from role r
  join pg_catalog.pg_auth_members m on m.member = r.oid
  join pg_catalog.pg_roles g on g.oid = m.roleid
  where g.rolname <> r.member_of or not r.is_member
  union all
  select r.name, format('is not a member of %s', r.member_of)
  from role r
  where r.is_member and r.oid is not null and not exists (
    select from pg_catalog.pg_auth_members m
    join pg_catalog.pg_roles g on g.oid = m.roleid
    where m.member = r.oid and g.rolname = r.member_of)),
default_of as (
  select w.role, w.name, w.value from unnest($4::text[], $5::text[], $6::text[]) as w (role, name, value)),
found as (
  select r.name as role, s.setdatabase <> 0 as in_database, split_part(c.line, '=', 1) as name,
         -- The empty list is written as two quotes.
         case substr(c.line, strpos(c.line, '=') + 1) when '""' then '' else substr(c.line, strpos(c.line, '=') + 1) end
           as value
  from role r
  join pg_catalog.pg_db_role_setting s on s.setrole = r.oid
  cross join lateral unnest(s.setconfig) as c (line)
  where s.setdatabase in (
    0, (select d.oid from pg_catalog.pg_database d where d.datname = pg_catalog.current_database()))),
setting as (
  select f.role as name, format('has %s = %L in this database', f.name, f.value) as what
  from found f
  where f.in_database
  union all
  select f.role, format('has %s = %L instead of %s', f.name, f.value, coalesce(quote_literal(d.value), 'the default'))
  from found f
  left join default_of d on d.role = f.role and d.name = f.name
  where not f.in_database and f.value is distinct from d.value
  union all
  select d.role, format('has no %s = %L', d.name, d.value)
  from default_of d
  join role r on r.name = d.role
  where r.oid is not null and not exists (
    select from found f where f.role = d.role and f.name = d.name and not f.in_database)),
temporary as (
  select r.name, 'may create temporary tables'::text as what
  from role r
  where pg_catalog.has_database_privilege(r.oid, pg_catalog.current_database(), 'temporary')),
elsewhere as (
  select r.name, format('may connect to database %s', d.datname) as what
  from role r
  join pg_catalog.pg_database d on d.datname in ('postgres', 'template1') and d.datname <> pg_catalog.current_database()
  where $10::boolean and pg_catalog.has_database_privilege(r.oid, d.oid, 'connect')),
callable as (
  select r.name, format('may call %s', string_agg(distinct p.proname, ', ' order by p.proname)) as what
  from role r
  join pg_catalog.pg_proc p on p.pronamespace = 'pg_catalog'::regnamespace and p.proname = any ($9::text[])
  where pg_catalog.has_function_privilege(r.oid, p.oid, 'execute')
  group by r.name),
statistics as (
  select 'analytics_owner'::text as name, 'is not a member of pg_read_all_stats, so the console cannot show which other roles are busy' as what
  from role r
  where r.name = 'console' and exists (select from pg_catalog.pg_roles o where o.rolname = 'analytics_owner')
    and not pg_catalog.pg_has_role('analytics_owner', 'pg_read_all_stats', 'member')),
differing as (
  select * from attribute union all select * from member union all select * from setting union all select * from temporary
  union all select * from callable union all select * from statistics
  union all select * from elsewhere),
path as (
  select format('function %s does not search pg_catalog first and pg_temp last', p.oid::pg_catalog.regprocedure) as what
  from pg_catalog.pg_proc p
  join pg_catalog.pg_namespace n on n.oid = p.pronamespace
  where n.nspname in ('blogs', 'social', 'analytics', 'notify', 'recommend', 'days')
    and p.prosecdef and not coalesce(p.proconfig, '{}') @> array['search_path=pg_catalog, pg_temp'])
select format('role %s %s', d.name, d.what) as what from differing d
union all
select p.what from path p
order by 1
