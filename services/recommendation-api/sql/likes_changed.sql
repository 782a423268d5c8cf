-- Returns the blogs of the next likes (at most $3, but a transaction's likes are never split) that were changed from
-- transaction $1 to before $2, and the transaction at which the next read begins. Locks nothing.
with changed as (
  select l.blog_id, l.applied_xid
  from analytics.blog_like l
  where l.applied_xid >= $1::bigint and l.applied_xid < $2::bigint
  order by l.applied_xid
  limit $3::bigint),
bound as (
  select case when count(*) < $3::bigint then $2::bigint
              when min(c.applied_xid) < max(c.applied_xid) then max(c.applied_xid)
              else max(c.applied_xid) + 1 end as next_xid
  from changed c)
select b.next_xid,
       array(select distinct l.blog_id from analytics.blog_like l
             where l.applied_xid >= $1::bigint and l.applied_xid < b.next_xid
             order by l.blog_id) as blogs
from bound b
