-- Which tables refer to which: by foreign keys, and across owners by columns that hold ids of blogs and accounts. Locks nothing.
with relation as (
  select c.oid, n.nspname::text as schema, c.relname::text as name
  from pg_class c
  join pg_namespace n on n.oid = c.relnamespace
  where c.relkind in ('r', 'p') and not c.relispartition
    and n.nspname in ('blogs', 'social', 'analytics', 'notify', 'recommend')),
declared as (
  select k.conrelid, k.confrelid, k.conkey[1] as attnum from pg_constraint k where k.contype = 'f'),
meant as (
  select r.oid as conrelid, t.oid as confrelid, a.attnum
  from relation r
  join pg_attribute a on a.attrelid = r.oid and a.attnum > 0
  join relation t on t.schema = 'blogs'
    and t.name = case when a.attname = 'blog_id' then 'blog'
                      when a.attname in ('account_id', 'follower_id', 'followee_id', 'recipient_id') then 'account' end
  where not exists (select from declared d where d.conrelid = r.oid and d.attnum = a.attnum))
select r.schema || '_' || r.name as child, t.schema || '_' || t.name as parent, a.attname::text as name, x.is_declared
from (select d.*, true as is_declared from declared d union all select m.*, false from meant m) x
join relation r on r.oid = x.conrelid
join relation t on t.oid = x.confrelid
join pg_attribute a on a.attrelid = x.conrelid and a.attnum = x.attnum
order by array_position(array['blogs', 'social', 'analytics', 'notify', 'recommend'], r.schema), r.oid, a.attnum
