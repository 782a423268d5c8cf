-- Returns the next blog after this one that has counters, if there is one. Locks nothing.
select min(c.blog_id) as blog_id
from blogs.blog_counter c
where c.blog_id > $1::bigint
