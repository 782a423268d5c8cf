-- The text that creates the login roles in $1 that do not exist yet. Locks nothing.
select coalesce(pg_catalog.string_agg(pg_catalog.format('create role %I login', w.name), '; '), '')
from unnest($1::text[]) as w (name)
where not exists (select from pg_catalog.pg_roles r where r.rolname = w.name)
