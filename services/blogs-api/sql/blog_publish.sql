-- Publishes a draft at the moment of this statement; nothing if it is published or was taken down. Locks that blog, which
-- blog_lock.sql has locked before.
update blogs.blog
set published_at = moment.at, first_published_at = coalesce(first_published_at, moment.at), version = version + 1
from (select clock_timestamp() as at) as moment
where id = $1::bigint and author_id = $2::bigint and deleted_at is null and published_at is null
  and taken_down_at is null
returning id
