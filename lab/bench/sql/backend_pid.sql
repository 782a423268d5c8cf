-- The id of the process that serves this session. Locks nothing.
select pg_backend_pid() as pid
