-- What one role could do to another through functions, bounded. Locks no rows that a service waits for.

-- A search path that leaves `pg_temp` out is searched with `pg_temp` first: in a database in which a caller may make
-- temporary objects, a domain named like a type that an owner's function uses runs the caller's code as the owner. A path
-- that ends with `pg_temp` finds the catalog's type first. Every function that has a path gets this one, in its owner's
-- name; `migrate --check` reports functions whose owner this administrator cannot act as.
do $$
declare
  found record;
begin
  for found in
    select p.oid::regprocedure::text as signature, pg_catalog.pg_get_userbyid(p.proowner) as owner
    from pg_catalog.pg_proc p
    join pg_catalog.pg_namespace n on n.oid = p.pronamespace
    where n.nspname in ('blogs', 'social', 'analytics', 'notify', 'recommend', 'days')
      and p.prokind in ('f', 'p')
      and (p.prosecdef or exists (select from unnest(p.proconfig) s where s like 'search_path=%'))
      and not coalesce(p.proconfig, '{}') @> array['search_path=pg_catalog, pg_temp']
    order by p.oid
  loop
    if pg_catalog.pg_has_role(session_user, found.owner, 'member') then
      execute format('set local role %I', found.owner);
      execute format('alter function %s set search_path = pg_catalog, pg_temp', found.signature);
      reset role;
    end if;
  end loop;
end $$;
