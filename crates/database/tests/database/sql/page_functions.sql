-- The functions of schema $1 that a role besides the owner may call, with these roles. Locks nothing.
select format('%I(%s)', p.proname, pg_get_function_identity_arguments(p.oid)) as name,
       array_agg(g.rolname::text order by g.rolname) as callers
from pg_proc p
cross join lateral aclexplode(p.proacl) x
join pg_roles g on g.oid = x.grantee and g.oid <> p.proowner
where p.pronamespace = $1::text::regnamespace
group by p.oid
order by p.proname::text collate "C", 1
