-- The number of sessions of this database that are waiting for a lock. Locks nothing.
select count(*) as waiting
from pg_stat_activity a
where a.datname = current_database() and a.wait_event_type = 'Lock'
