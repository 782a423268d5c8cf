-- Sessions of this database that wait for a lock at this moment. Locks nothing.
select count(*) as waiting
from pg_stat_activity a
where a.datname = current_database() and a.wait_event_type = 'Lock'
