-- Whose a blog is, as long as readers see it. Locks nothing.
select l.author_id
from blogs.live_blog l
where l.id = $1::bigint
