-- Which roles read and write which schemas. Locks nothing.
with granted as (
  select n.nspname::text as schema, c.relowner as owner, x.grantee, x.privilege_type as privilege
  from pg_class c
  join pg_namespace n on n.oid = c.relnamespace
  cross join lateral (
    select * from aclexplode(c.relacl)
    union all
    select x.* from pg_attribute a cross join lateral aclexplode(a.attacl) x where a.attrelid = c.oid) x
  where n.nspname in ('blogs', 'social', 'analytics', 'notify', 'recommend') and not c.relispartition)
select g.rolname::text as role, d.schema, bool_or(d.privilege in ('INSERT', 'UPDATE', 'DELETE')) as writes
from granted d
join pg_roles g on g.oid = d.grantee
where d.grantee <> d.owner
group by 1, 2
order by 1, array_position(array['blogs', 'social', 'analytics', 'notify', 'recommend'], d.schema)
