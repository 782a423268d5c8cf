-- The server's maximum number of connections, and how many are reserved for superusers. Locks nothing.
select pg_catalog.current_setting('max_connections')::integer as max_connections,
       pg_catalog.current_setting('superuser_reserved_connections')::integer as superuser_reserved
