-- Returns why a change found nothing to change: the blog's author, whether readers see it, and whether an operator has
-- taken it down. Locks nothing.
select b.author_id, exists (select from blogs.live_blog l where l.id = b.id) as is_live,
       b.taken_down_at is not null as is_taken_down
from blogs.blog b
where b.id = $1::bigint and b.deleted_at is null
