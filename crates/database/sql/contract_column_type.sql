-- The type of column $2 of relation $1, if both exist. Locks nothing.
select pg_catalog.format_type(a.atttypid, a.atttypmod)
from pg_catalog.pg_attribute a
where a.attrelid = pg_catalog.to_regclass($1::text) and a.attname = $2::text and not a.attisdropped and a.attnum > 0
