-- Claims the running fan-out that has waited longest for its turn. Locks that row, skipping those that other workers
-- hold.
select f.blog_id, f.published_at, f.after_id,
       f.published_at < now() - $1::integer * interval '1 day' as is_expired
from notify.fan_out f
where f.state = 'running'
order by f.turn_at, f.blog_id
limit 1
for no key update skip locked
