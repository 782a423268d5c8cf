-- What makes a restored database safe to use. A dump knows nothing of the ids and tokens that were given out after it was
-- made, so `commonplace restore` has to finish the database before services use it; and a token is checked against the
-- creation of its account.

-- Which server and database these data belong to. A dump carries the row along, and so a restored copy is recognized: its
-- own server and database are others. `commonplace migrate` refuses such a copy, `commonplace restore` makes it the home.
-- Owner: the administrator, as of the history of the migrations.
create table public.home (
  only_row boolean primary key default true check (only_row),
  -- `pg_control_system()`; 0 while a restore is unfinished.
  system_identifier bigint not null,
  -- The database's OID; 0 while a restore is unfinished.
  database_oid bigint not null,
  marked_at timestamptz not null default now()
);

set local role blogs_owner;

-- Whoever verifies a token asks when its account was created.
grant select (created_at) on blogs.account to recommendation_api;

reset role;
