-- Sets likes to their newest version and returns the previous state of each changed row. Locks the rows in key order. The
-- upsert itself reports the change: reading first and writing afterwards would race with a concurrent first like.
insert into analytics.blog_like as old (blog_id, account_id, liked, version_us, version_id, applied_xid)
select l.blog_id, l.account_id, l.liked, l.version_us, l.version_id, pg_current_xact_id()::text::bigint
from unnest($1::bigint[], $2::bigint[], $3::boolean[], $4::bigint[], $5::uuid[])
  as l (blog_id, account_id, liked, version_us, version_id)
order by l.blog_id, l.account_id
on conflict (blog_id, account_id) do update
set was_liked = old.liked,
    liked = excluded.liked,
    applied_xid = excluded.applied_xid,
    version_us = excluded.version_us,
    version_id = excluded.version_id
where (excluded.version_us, excluded.version_id) > (old.version_us, old.version_id)
returning old.blog_id, old.account_id, old.was_liked
