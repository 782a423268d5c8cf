-- The text that lets the login roles $1 inherit from their groups where $2 says so, and makes them members of their groups
-- ($3) where $4 says so. A membership takes over whether its role inherits, so that comes first. Locks nothing.
with wanted as (
  select w.name, w.inherits, w.member_of, w.is_member
  from unnest($1::text[], $2::boolean[], $3::text[], $4::boolean[]) as w (name, inherits, member_of, is_member)),
text as (
  select 1 as step, pg_catalog.format('alter role %I %s', w.name, case when w.inherits then 'inherit' else 'noinherit' end) as text
  from wanted w
  union all
  select 2, pg_catalog.format('grant %I to %I', w.member_of, w.name)
  from wanted w
  where w.is_member)
select coalesce(pg_catalog.string_agg(t.text, '; ' order by t.step), '') from text t
