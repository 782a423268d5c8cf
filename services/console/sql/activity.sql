-- Sessions of this database that are executing something at this moment, by role, without this one. Locks nothing.
select a.usename::text as role, count(*) as sessions
from pg_stat_activity a
where a.datname = current_database() and a.state = 'active' and a.usename is not null and a.pid <> pg_backend_pid()
group by a.usename
order by a.usename
