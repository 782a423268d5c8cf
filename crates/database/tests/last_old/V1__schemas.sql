-- Schemas are owners: each belongs to a role that nobody logs in as. The roles themselves belong to the whole
-- cluster and are made by the bootstrap step before any migration runs.

create schema blogs authorization blogs_owner;
create schema analytics authorization analytics_owner;

-- What Postgres gives to everybody by default, nobody here needs: temporary tables, a schema to create in, and
-- functions that are callable by all the moment they are made.
do $$ begin execute format('revoke temporary, create on database %I from public', current_database()); end $$;
revoke all on schema public from public;
alter default privileges for role blogs_owner revoke execute on functions from public;
alter default privileges for role analytics_owner revoke execute on functions from public;

grant usage on schema blogs to blogs_api, engagement_writer, analytics_owner, operator;
grant usage on schema analytics to blogs_api, engagement_writer, analytics_worker, operator;
