-- The schemas, each with its owner. Locks nothing.
select n.nspname::text as name, case when r.rolname like '%\_owner' then r.rolname::text else 'the administrator' end as owner,
       obj_description(n.oid, 'pg_namespace') as comment
from pg_namespace n
join pg_roles r on r.oid = n.nspowner
where n.nspname in ('blogs', 'social', 'analytics', 'notify', 'recommend', 'days')
order by array_position(array['blogs', 'social', 'analytics', 'notify', 'recommend', 'days'], n.nspname::text)
