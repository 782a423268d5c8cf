-- A few digits of a hash of each role's password verifier, enough to detect a change. Locks nothing.
select 'role ' || a.rolname || ': password (hashed)' as line,
       pg_catalog.left(pg_catalog.md5(a.rolpassword), 8) as value
from pg_catalog.pg_authid a
where a.rolpassword is not null
