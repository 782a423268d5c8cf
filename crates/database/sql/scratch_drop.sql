-- The text that drops the scratch database named $1. Locks nothing.
select pg_catalog.format('drop database %I with (force)', $1::text)
