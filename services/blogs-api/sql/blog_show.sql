-- Publishes a blog that the same transaction has created, at the time of this statement. Locks that blog.
update blogs.blog
set published_at = moment.at, first_published_at = moment.at
from (select clock_timestamp() as at) as moment
where id = $1::bigint
