-- Returns the author of a blog that is not deleted, and the progress of its fan-out if that has begun. Locks nothing.
select b.author_id, exists (select from blogs.live_blog l where l.id = b.id) as is_live,
       f.state, f.published_at, f.total, f.looked_at, f.notified, f.rows_per_s,
       notify.seconds_left(f.state, f.total, f.looked_at, f.rows_per_s), f.created_at, f.ended_at
from blogs.blog b
left join notify.fan_out f on f.blog_id = b.id
where b.id = $1::bigint and b.deleted_at is null
