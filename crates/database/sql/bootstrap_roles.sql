-- The owners and groups of the system, and that the database is no place for others. Locks their rows in the catalogs.
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
  -- Which roles are busy is told by a function of this owner, without what they run: the statistics themselves show every
  -- statement of every role. Where the administrator may not grant this, the console does without the counts.
  begin
    revoke pg_read_all_stats from console;
    grant pg_read_all_stats to analytics_owner;
  exception when insufficient_privilege then
    raise notice 'the console will not see which roles are busy: pg_read_all_stats cannot be granted to analytics_owner';
  end;
  -- No role makes tables of its own here. The first migration says so, too; a dump that is restored does not.
  execute format('revoke temporary, create on database %I from public', current_database());
  -- Migrations run as the administrator, in the owners' names.
  if not (select rolsuper from pg_catalog.pg_roles where rolname = current_user) then
    execute format('grant blogs_owner, analytics_owner, notify_owner, recommend_owner to %I', current_user);
  end if;
end $$
