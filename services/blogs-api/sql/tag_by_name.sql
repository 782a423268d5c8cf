-- Returns the tag with this name, if any blog ever had it. Locks nothing.
select id
from blogs.tag
where name = $1::text
