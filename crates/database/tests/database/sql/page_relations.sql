-- Tables and views of the schema, with who may delete rows of each. Locks nothing.
select n.nspname::text as schema, c.relname::text as name,
       case when c.relkind = 'v' then 'view' when c.relkind = 'p' then 'table with one partition per day' else 'table' end as kind,
       obj_description(c.oid, 'pg_class') as comment,
       array(select g.rolname::text from aclexplode(c.relacl) x join pg_roles g on g.oid = x.grantee
             where x.privilege_type = 'DELETE' and x.grantee <> c.relowner order by g.rolname) as deleters
from pg_class c
join pg_namespace n on n.oid = c.relnamespace
where c.relkind in ('r', 'p', 'v') and not c.relispartition
  and (n.nspname in ('blogs', 'social', 'analytics', 'notify', 'recommend') or n.nspname = 'public' and c.relname = 'home')
order by array_position(array['blogs', 'social', 'analytics', 'notify', 'recommend', 'public'], n.nspname::text), c.oid
