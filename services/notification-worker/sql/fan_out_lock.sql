-- The state of a blog's fan-out. Locks that row, so that what is read in later statements is not out of date.
select f.state
from notify.fan_out f
where f.blog_id = $1::bigint
for no key update
