-- Returns a draft of this author that may be published, so that later statements read the clock after waiting for the
-- lock. Locks that blog.
select title
from blogs.blog
where id = $1::bigint and author_id = $2::bigint and deleted_at is null and published_at is null
  and taken_down_at is null
for no key update
