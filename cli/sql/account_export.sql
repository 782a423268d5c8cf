-- All data about a person that the schemas' owners hold, part by part and item by item, in one snapshot. Locks nothing.
select e.part, e.item
from (
  select 1 as owner, b.part, b.item, b.ordinality
  from blogs.export_account($1::bigint) with ordinality as b (part, item, ordinality)
  union all
  select 2, a.part, a.item, a.ordinality
  from analytics.export_account($1::bigint) with ordinality as a (part, item, ordinality)
  union all
  select 3, n.part, n.item, n.ordinality
  from notify.export_account($1::bigint) with ordinality as n (part, item, ordinality)) as e
order by e.owner, e.ordinality
