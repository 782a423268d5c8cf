-- Whether the Blogs API may write engagement itself; no row if the server does not have its role. Locks nothing.
select pg_catalog.pg_has_role(b.oid, w.oid, 'member') as direct_path
from pg_catalog.pg_roles b
join pg_catalog.pg_roles w on w.rolname = 'engagement_writer'
where b.rolname = 'blogs_api'
