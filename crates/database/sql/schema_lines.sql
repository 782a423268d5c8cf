-- The schema that the migrations created, as text: one row per object or part of an object. Leaves out the partitions of
-- days, and the rights of login roles and groups, which `grants.sql` gives. Hashes long definitions. Locks nothing.
with schema as (
  select n.oid, n.nspname as name, n.nspowner, n.nspacl
  from pg_catalog.pg_namespace n
  where n.nspname in ('blogs', 'social', 'analytics', 'notify', 'recommend', 'days')),
owner as (
  select r.oid, r.rolname as name
  from pg_catalog.pg_roles r
  where r.rolname in ('blogs_owner', 'analytics_owner', 'notify_owner', 'recommend_owner')),
relation as (
  select c.*, pg_catalog.format('%I.%I', n.nspname, c.relname) as name,
         case c.relkind when 'v' then 'view' when 'm' then 'materialized view' when 'S' then 'sequence' when 'i' then 'index'
                        when 'I' then 'index' when 'f' then 'foreign table' else 'table' end as kind
  from pg_catalog.pg_class c
  join pg_catalog.pg_namespace n on n.oid = c.relnamespace
  where not c.relispartition and c.relkind in ('r', 'p', 'v', 'm', 'S', 'i', 'I', 'f')
    and (n.oid in (select s.oid from schema s) or n.nspname = 'public' and c.relname in ('home', 'home_pkey'))),
routine as (
  select p.*, pg_catalog.format('%I.%I(%s)', s.name, p.proname, pg_catalog.pg_get_function_identity_arguments(p.oid)) as name
  from pg_catalog.pg_proc p
  join schema s on s.oid = p.pronamespace),
line as (
  select pg_catalog.format('schema %s: owner %s', s.name, coalesce(o.name, 'the administrator')) as line
  from schema s
  left join owner o on o.oid = s.nspowner
  union all
  select pg_catalog.format('%s %s: owner %s%s%s%s%s%s%s', r.kind, r.name, coalesce(o.name, 'the administrator'),
                           case r.relpersistence when 'p' then '' else ', persistence ' || r.relpersistence::text end,
                           ', with (' || (select pg_catalog.string_agg(x, ', ' order by x) from pg_catalog.unnest(r.reloptions) x) || ')',
                           ', partition by ' || pg_catalog.pg_get_partkeydef(r.oid),
                           case when r.relrowsecurity then ', row security' end,
                           case when r.relforcerowsecurity then ', forced row security' end,
                           case r.relreplident when 'd' then '' when 'n' then '' else ', replica identity ' || r.relreplident::text end)
  from relation r
  left join owner o on o.oid = r.relowner
  union all
  select pg_catalog.format('view %s: definition %s', r.name, pg_catalog.md5(pg_catalog.pg_get_viewdef(r.oid)))
  from relation r
  where r.relkind in ('v', 'm')
  union all
  select pg_catalog.format(
           'column %s.%I: number %s, %s%s%s%s%s%s%s%s', r.name, a.attname,
           pg_catalog.row_number() over (partition by r.oid order by a.attnum),
           pg_catalog.format_type(a.atttypid, a.atttypmod),
           case when a.attcollation <> t.typcollation then ' collation ' || a.attcollation::pg_catalog.regcollation::text end,
           case when a.attnotnull then ' not null' end,
           ' default ' || pg_catalog.pg_get_expr(d.adbin, d.adrelid),
           case a.attidentity when '' then '' else ' identity ' || a.attidentity::text end,
           case a.attgenerated when '' then '' else ' generated ' || a.attgenerated::text end,
           case when coalesce(a.attstattarget, -1) <> -1 then ' statistics ' || a.attstattarget::text end,
           case when a.attstorage <> t.typstorage or a.attcompression <> '' then ' storage ' || a.attstorage::text || a.attcompression::text end)
  from relation r
  join pg_catalog.pg_attribute a on a.attrelid = r.oid and a.attnum > 0 and not a.attisdropped
  join pg_catalog.pg_type t on t.oid = a.atttypid
  left join pg_catalog.pg_attrdef d on d.adrelid = r.oid and d.adnum = a.attnum
  where r.relkind <> 'S'
  union all
  select pg_catalog.format('index %s: %s%s', r.name, pg_catalog.pg_get_indexdef(i.indexrelid),
                           case when i.indisvalid then '' else ', invalid' end)
  from relation r
  join pg_catalog.pg_index i on i.indexrelid = r.oid
  union all
  select pg_catalog.format('sequence %s: %s', r.name, pg_catalog.to_jsonb(s) - array['seqrelid', 'seqtypid'])
  from relation r
  join pg_catalog.pg_sequence s on s.seqrelid = r.oid
  union all
  -- PostgreSQL 18 stores NOT NULL as a constraint ('n'); the columns above already show it.
  select pg_catalog.format('constraint %I on %s: %s', c.conname, r.name, pg_catalog.pg_get_constraintdef(c.oid))
  from relation r
  join pg_catalog.pg_constraint c on c.conrelid = r.oid and c.contype <> 'n'
  union all
  select pg_catalog.format('trigger %I on %s: %s, enabled %s', t.tgname, r.name, pg_catalog.pg_get_triggerdef(t.oid), t.tgenabled)
  from relation r
  join pg_catalog.pg_trigger t on t.tgrelid = r.oid and not t.tgisinternal
  union all
  select pg_catalog.format('rule %I on %s: %s', w.rulename, r.name, pg_catalog.pg_get_ruledef(w.oid))
  from relation r
  join pg_catalog.pg_rewrite w on w.ev_class = r.oid and w.rulename <> '_RETURN'
  union all
  select pg_catalog.format('policy %I on %s', p.polname, r.name)
  from relation r
  join pg_catalog.pg_policy p on p.polrelid = r.oid
  union all
  select pg_catalog.format('type %s.%I', s.name, t.typname)
  from schema s
  join pg_catalog.pg_type t on t.typnamespace = s.oid and t.typtype in ('d', 'e', 'r', 'm')
  union all
  select pg_catalog.format('function %s: owner %s, definition %s', r.name, coalesce(o.name, 'the administrator'),
                           case when r.prokind in ('f', 'p') then pg_catalog.md5(pg_catalog.pg_get_functiondef(r.oid)) end)
  from routine r
  left join owner o on o.oid = r.proowner
  union all
  select pg_catalog.format('default rights of %s on %s: %s', o.name, d.defaclobjtype,
                           pg_catalog.array_to_string(d.defaclacl, ', '))
  from pg_catalog.pg_default_acl d
  join owner o on o.oid = d.defaclrole),
granted as (
  select 'schema ' || s.name as name, coalesce(s.nspacl, pg_catalog.acldefault('n', s.nspowner)) as acl from schema s
  union all
  select 'schema public', coalesce(n.nspacl, pg_catalog.acldefault('n', n.nspowner))
  from pg_catalog.pg_namespace n
  where n.nspname = 'public'
  union all
  select r.kind || ' ' || r.name,
         coalesce(r.relacl, pg_catalog.acldefault(case r.relkind when 'S' then 's' else 'r' end::"char", r.relowner))
  from relation r
  where r.kind <> 'index'
  union all
  select pg_catalog.format('column %s.%I', r.name, a.attname), a.attacl
  from relation r
  join pg_catalog.pg_attribute a on a.attrelid = r.oid and a.attnum > 0 and not a.attisdropped and a.attacl is not null
  union all
  select 'function ' || r.name, coalesce(r.proacl, pg_catalog.acldefault('f', r.proowner)) from routine r)
select l.line
from line l
union all
select pg_catalog.format('%s may %s%s on %s', coalesce(o.name, 'everybody'), x.privilege_type,
                         case when x.is_grantable then ' and grant it' end, g.name)
from granted g
cross join lateral pg_catalog.aclexplode(g.acl) x
left join owner o on o.oid = x.grantee
where o.oid is not null or x.grantee = 0
order by 1
