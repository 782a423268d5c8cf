-- Creates the system's owners and groups, and closes the database to other roles' objects. Locks their catalog rows.
do $$
declare
  role text;
begin
  -- Owners and groups cannot log in.
  foreach role in array array['blogs_owner', 'analytics_owner', 'notify_owner', 'recommend_owner',
    'engagement_writer'] loop
    if not exists (select from pg_catalog.pg_roles where rolname = role) then
      execute format('create role %I nologin', role);
    end if;
  end loop;
  -- A function of this owner shows which roles are busy without showing their statements; the statistics views would show
  -- every statement of every role. If the administrator may not grant this, the console works without the counts.
  begin
    revoke pg_read_all_stats from console;
    grant pg_read_all_stats to analytics_owner;
  exception when insufficient_privilege then
    raise notice 'the console will not see which roles are busy: pg_read_all_stats cannot be granted to analytics_owner';
  end;
  -- No role may create its own tables here. The first migration does the same, but a restored dump does not.
  execute format('revoke temporary, create on database %I from public', current_database());
  -- The administrator runs the migrations with the owners' roles.
  if not (select rolsuper from pg_catalog.pg_roles where rolname = current_user) then
    execute format('grant blogs_owner, analytics_owner, notify_owner, recommend_owner to %I', current_user);
  end if;
end $$
