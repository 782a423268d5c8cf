-- The columns of relation $1.$2, with the roles that may read and write each. Locks nothing.
with granted as (
  select a.attnum, x.privilege_type as privilege, g.rolname::text as role
  from pg_class c
  join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
  cross join lateral (select * from aclexplode(c.relacl) union all select * from aclexplode(a.attacl)) x
  join pg_roles g on g.oid = x.grantee and g.oid <> c.relowner
  where c.relname = $2 and c.relnamespace = $1::text::regnamespace)
select a.attname::text as name, format_type(a.atttypid, a.atttypmod) || case when a.attnotnull then '' else '?' end as type,
       col_description(c.oid, a.attnum) as comment,
       array(select distinct g.role from granted g where g.attnum = a.attnum and g.privilege = 'SELECT' order by 1) as readers,
       array(select distinct g.role || case when bool_or(g.privilege = 'UPDATE') and bool_or(g.privilege = 'INSERT') then ''
                                            when bool_or(g.privilege = 'UPDATE') then ' (update)' else ' (insert)' end
             from granted g where g.attnum = a.attnum and g.privilege in ('INSERT', 'UPDATE') group by g.role order by 1)
         as writers
from pg_class c
join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
where c.relname = $2 and c.relnamespace = $1::text::regnamespace
order by a.attnum
