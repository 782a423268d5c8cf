-- The text that revokes the catalog functions named in $1 from PUBLIC in this database, where the administrator may. The
-- owners' roles and the database's owner may still call the functions for the advisory locks that they take. Locks nothing.
with mine as (
  select p.oid, p.oid::pg_catalog.regprocedure::text as signature
  from pg_catalog.pg_proc p
  where p.pronamespace = 'pg_catalog'::regnamespace and p.proname = any ($1::text[])
    and pg_catalog.pg_has_role(p.proowner, 'member')),
text as (
  select pg_catalog.format('revoke execute on function %s from public', m.signature) as text
  from mine m
  union all
  select pg_catalog.format('grant execute on function %s to blogs_owner, analytics_owner, notify_owner, pg_database_owner',
                           m.signature)
  from mine m
  where m.oid in ('pg_advisory_xact_lock(bigint)'::pg_catalog.regprocedure,
                  'pg_try_advisory_xact_lock(bigint)'::pg_catalog.regprocedure)
  union all
  select pg_catalog.format('grant execute on function %s to pg_database_owner', m.signature)
  from mine m
  where m.oid = 'pg_advisory_lock(bigint)'::pg_catalog.regprocedure)
select coalesce(pg_catalog.string_agg(t.text, '; ' order by t.text desc), '') from text t
