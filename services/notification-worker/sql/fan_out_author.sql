-- The author of a blog whose followers may be told of it: readers see it, and its moment is at most 60 days ahead. (It is ahead
-- where the database's clock was wrong; notify.create_day makes no day further away.) Locks nothing.
select l.author_id
from blogs.live_blog l
where l.id = $1::bigint and l.first_published_at <= now() + interval '60 days'
