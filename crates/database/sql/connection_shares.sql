-- How many connections the server has, and what of them is kept for superusers. Locks nothing.
select pg_catalog.current_setting('max_connections')::integer as max_connections,
       pg_catalog.current_setting('superuser_reserved_connections')::integer as superuser_reserved
