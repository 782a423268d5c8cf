-- The connected role and its connection limit (-1: no limit). Locks nothing.
select rolname::text as role, rolconnlimit as connection_limit
from pg_catalog.pg_roles
where rolname = current_user
