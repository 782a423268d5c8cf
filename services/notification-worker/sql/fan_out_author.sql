-- Returns the author of a blog if followers may be notified of it: readers can see it, and its time of publishing is at
-- most 60 days ahead. (It is ahead if the database's clock was wrong; notify.create_day creates no later day.) Locks
-- nothing.
select l.author_id
from blogs.live_blog l
where l.id = $1::bigint and l.first_published_at <= now() + interval '60 days'
