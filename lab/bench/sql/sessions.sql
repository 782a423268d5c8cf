-- Sessions of this database, except this one and the Blogs API's; a session reports its statistics when it ends. Locks nothing.
select count(*) as sessions
from pg_stat_activity a
where a.datname = current_database() and a.backend_type = 'client backend' and a.pid <> pg_backend_pid()
  and a.application_name <> 'blogs-api'
