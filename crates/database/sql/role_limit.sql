-- The connected role and how many connections it may hold (-1: no limit). Locks nothing.
select rolname::text as role, rolconnlimit as connection_limit
from pg_catalog.pg_roles
where rolname = current_user
