-- A process of the workers or of the API in this database, a busy one first. Locks nothing.
select a.pid
from pg_catalog.pg_stat_activity a
where a.datname = current_database() and a.usename in ('analytics_worker', 'blogs_api')
order by a.state = 'active' desc, random()
limit 1
