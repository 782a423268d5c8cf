-- Returns the state of a blog's fan-out. Locks that row, so that what later statements read is up to date.
select f.state
from notify.fan_out f
where f.blog_id = $1::bigint
for no key update
