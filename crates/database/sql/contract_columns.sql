-- The columns that the stored statement depends on. Locks nothing.
select d.refobjid::regclass::text as relation, a.attname::text as name,
       pg_catalog.format_type(a.atttypid, a.atttypmod) as type_name
from pg_catalog.pg_proc p
join pg_catalog.pg_depend d on d.classid = 'pg_catalog.pg_proc'::regclass and d.objid = p.oid
join pg_catalog.pg_attribute a on a.attrelid = d.refobjid and a.attnum = d.refobjsubid
where p.proname = 'contract_pin' and p.pronamespace = pg_catalog.pg_my_temp_schema()
  and d.refclassid = 'pg_catalog.pg_class'::regclass and d.refobjsubid > 0
order by 1, a.attnum
