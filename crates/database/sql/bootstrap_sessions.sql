-- Counts the sessions of the roles $1 in this database, by role. Locks nothing.
select a.usename::text as role, count(*) as sessions
from pg_catalog.pg_stat_activity a
where a.datname = pg_catalog.current_database() and a.usename::text = any ($1::text[])
group by a.usename
order by a.usename
