-- The roles of the system and their defaults, and that the database is no place for others. Locks their rows in the catalogs.
do $$
declare
  role text;
begin
  -- Owners and groups: nobody logs in as one.
  foreach role in array array['blogs_owner', 'analytics_owner', 'notify_owner', 'recommend_owner',
    'engagement_writer'] loop
    if not exists (select from pg_catalog.pg_roles where rolname = role) then
      execute format('create role %I nologin', role);
    end if;
  end loop;
  foreach role in array array['blogs_api', 'analytics_worker', 'notification_worker', 'recommendation_api', 'operator',
                              'console'] loop
    if not exists (select from pg_catalog.pg_roles where rolname = role) then
      execute format('create role %I login', role);
    end if;
    -- Each statement names its schema; nothing is found by a path that somebody could put a name into.
    execute format('alter role %I set search_path = ''''', role);
    execute format('alter role %I set idle_in_transaction_session_timeout = ''10s''', role);
  end loop;
  -- What is acked must outlive a crash, whatever the server's own default is.
  alter role blogs_api set synchronous_commit = 'on';
  alter role analytics_worker set synchronous_commit = 'on';
  alter role notification_worker set synchronous_commit = 'on';
  -- What is learnt can be learnt again; its commits need not wait for the disk, where others wait for theirs.
  alter role recommendation_api set synchronous_commit = 'off';
  -- A reader's request waits this long at most; a batch may be larger, and an operator's command larger still.
  alter role blogs_api set statement_timeout = '3s';
  alter role blogs_api set lock_timeout = '2s';
  alter role analytics_worker set statement_timeout = '30s';
  alter role analytics_worker set lock_timeout = '10s';
  alter role notification_worker set statement_timeout = '30s';
  alter role notification_worker set lock_timeout = '10s';
  -- It asks the heaviest questions and may take the least for them: a few seconds, little memory, no second core, and no
  -- disk beyond what one chunk may spill. The last is a limit that the role cannot lift by itself.
  alter role recommendation_api set statement_timeout = '10s';
  alter role recommendation_api set lock_timeout = '2s';
  alter role recommendation_api set work_mem = '32MB';
  alter role recommendation_api set max_parallel_workers_per_gather = 0;
  alter role recommendation_api set jit = 'off';
  if (select rolsuper from pg_catalog.pg_roles where rolname = current_user) then
    alter role recommendation_api set temp_file_limit = '1GB';
  end if;
  alter role operator set statement_timeout = '10min';
  alter role operator set lock_timeout = '5s';
  -- What somebody looks at must not be what is slow.
  alter role console set statement_timeout = '5s';
  alter role console set lock_timeout = '1s';
  grant engagement_writer to analytics_worker;
  -- An operator who redrives a parked event counts it as a worker would, and says so first: the role inherits nothing.
  alter role operator noinherit;
  grant engagement_writer to operator;
  -- Who is busy. Where whoever bootstraps may not give this on, the console does without.
  begin
    grant pg_read_all_stats to console;
  exception when insufficient_privilege then
    raise notice 'the console will not see which roles are busy: pg_read_all_stats cannot be granted to it';
  end;
  -- Nobody makes tables of their own here. The first migration says so, too; a dump that is restored does not.
  execute format('revoke temporary, create on database %I from public', current_database());
  -- Migrations run as whoever bootstraps, in the owners' names.
  if not (select rolsuper from pg_catalog.pg_roles where rolname = current_user) then
    execute format('grant blogs_owner, analytics_owner, notify_owner, recommend_owner to %I', current_user);
  end if;
end $$
