-- The text that sets whether each login role in $1 inherits ($2) and then makes it a member of its group ($3) if $4 is true.
-- A new membership copies the role's inherit attribute, so the attribute must be set first. Locks nothing.
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
