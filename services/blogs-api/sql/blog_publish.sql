-- Publishes a draft at the time of this statement. Locks that blog, which blog_lock.sql has already locked.
update blogs.blog
set published_at = moment.at, first_published_at = coalesce(first_published_at, moment.at), version = version + 1
from (select clock_timestamp() as at) as moment
where id = $1::bigint
