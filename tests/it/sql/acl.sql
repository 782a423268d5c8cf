-- Every right that is granted on the schemas of the product, except on the partitions of days; one sentence per row.
-- Locks nothing.
with granted as (
  select 'schema ' || n.nspname as name, n.nspacl as acl from pg_namespace n
  union all
  select c.relname || ' of ' || n.nspname, c.relacl
  from pg_class c join pg_namespace n on n.oid = c.relnamespace
  where not c.relispartition
  union all
  select a.attname || ' of ' || c.relname || ' of ' || n.nspname, a.attacl
  from pg_attribute a join pg_class c on c.oid = a.attrelid join pg_namespace n on n.oid = c.relnamespace
  where not c.relispartition and a.attnum > 0 and not a.attisdropped
  union all
  select p.oid::regprocedure::text || ' of ' || n.nspname, p.proacl
  from pg_proc p join pg_namespace n on n.oid = p.pronamespace)
select coalesce(array_agg(format('%s: %s%s on %s', coalesce(r.rolname, 'public'), x.privilege_type,
                                 case when x.is_grantable then ' with grant option' end, g.name)
                          order by g.name, r.rolname, x.privilege_type), '{}')
from granted g
cross join lateral aclexplode(g.acl) x
left join pg_roles r on r.oid = x.grantee
where g.name ~ '(schema|of) (blogs|social|analytics|notify|recommend|days|public)$'
