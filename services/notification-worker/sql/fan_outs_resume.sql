-- Fan-outs go on whose blogs readers see again without an event that says so: an operator brought the blog or its author
-- back. Locks those rows in the order of their ids, passing over those that others hold.
update notify.fan_out f
set state = 'running', turn_at = clock_timestamp()
from (
  select w.blog_id
  from notify.fan_out w
  where w.state = 'withdrawn' and exists (select from blogs.live_blog l where l.id = w.blog_id)
  order by w.blog_id
  limit 100
  for no key update skip locked) as again
where f.blog_id = again.blog_id
