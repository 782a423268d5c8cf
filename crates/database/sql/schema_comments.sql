-- The texts that recreate this database's comments on schemas, tables, views and columns. Locks nothing.
select pg_catalog.format('comment on schema %I is %L', n.nspname, d.description) as text
from pg_catalog.pg_description d
join pg_catalog.pg_namespace n on d.classoid = 'pg_catalog.pg_namespace'::pg_catalog.regclass and n.oid = d.objoid
where n.nspname in ('blogs', 'social', 'analytics', 'notify', 'recommend', 'days')
union all
select case when d.objsubid > 0 then pg_catalog.format('comment on column %I.%I.%I is %L', n.nspname, c.relname, a.attname, d.description)
            when c.relkind = 'v' then pg_catalog.format('comment on view %I.%I is %L', n.nspname, c.relname, d.description)
            else pg_catalog.format('comment on table %I.%I is %L', n.nspname, c.relname, d.description) end
from pg_catalog.pg_description d
join pg_catalog.pg_class c on d.classoid = 'pg_catalog.pg_class'::pg_catalog.regclass and c.oid = d.objoid
join pg_catalog.pg_namespace n on n.oid = c.relnamespace
left join pg_catalog.pg_attribute a on a.attrelid = c.oid and a.attnum = d.objsubid
where c.relkind in ('r', 'p', 'v')
  and n.nspname in ('blogs', 'social', 'analytics', 'notify', 'recommend', 'days', 'public')
order by 1
