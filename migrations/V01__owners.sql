-- The schemas and their owners. An owner is a role that cannot log in. The bootstrap step makes the roles, because they
-- belong to the whole cluster. Rights of services are in `grants.sql`; the rights that owners give each other are beside
-- the objects that they are for.

create schema blogs authorization blogs_owner;
create schema social authorization blogs_owner;
create schema analytics authorization analytics_owner;
create schema notify authorization notify_owner;
create schema recommend authorization recommend_owner;

comment on schema blogs is 'Accounts, blogs and what authors own. Owner: Blogs.';
comment on schema social is 'Who follows whom. Owner: Blogs.';
comment on schema analytics is 'Engagement: what was counted, and the account of every event. Owner: Analytics.';
comment on schema notify is 'Notifications of new blogs. Owner: Notification.';
comment on schema recommend is 'What readers may like. Owner: Recommendation.';

-- Postgres lets every role make temporary tables and call new functions. No role here needs that.
do $$ begin execute format('revoke temporary, create on database %I from public', current_database()); end $$;
revoke all on schema public from public;
alter default privileges for role blogs_owner revoke execute on functions from public;
alter default privileges for role analytics_owner revoke execute on functions from public;
alter default privileges for role notify_owner revoke execute on functions from public;
alter default privileges for role recommend_owner revoke execute on functions from public;

-- Functions of one owner name tables and functions of another.
grant usage on schema blogs to analytics_owner, notify_owner, recommend_owner;
grant usage on schema analytics to recommend_owner;

-- Owner: the administrator.
create table public.home (
  only_row boolean primary key default true check (only_row),
  system_identifier bigint not null,
  database_oid bigint not null,
  marked_at timestamptz not null default now()
);
comment on table public.home is
  'The server and database that the data belong to. A dump contains this row, so a restored copy is recognized: `migrate` refuses it until `restore` has finished it.';
comment on column public.home.only_row is 'Always true: the table has at most one row.';
comment on column public.home.system_identifier is 'From pg_control_system(); 0 while a restore is unfinished.';
comment on column public.home.database_oid is 'The OID of the database; 0 while a restore is unfinished.';
comment on column public.home.marked_at is 'When the database became the home of its data.';
