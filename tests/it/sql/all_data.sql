-- The statements that hash the rows of each table of the product, one per table. Locks nothing.
select format('select %L || md5(coalesce(string_agg(t::text, %L order by t::text), %L)) from %I.%I t',
              n.nspname || '.' || c.relname || ' ', E'\n', '', n.nspname, c.relname)
from pg_class c
join pg_namespace n on n.oid = c.relnamespace
where c.relkind in ('r', 'p') and n.nspname in ('blogs', 'social', 'analytics', 'notify', 'recommend')
order by n.nspname, c.relname
