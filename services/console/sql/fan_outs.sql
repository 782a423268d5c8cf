-- Returns up to 6 running fan-outs whose turn is next, and the 4 newest fan-outs in any state. Locks nothing.
with running as (
  select f.blog_id, f.state, f.total, f.looked_at, f.notified, f.rows_per_s, f.created_at, f.ended_at
  from notify.fan_out f
  where f.state = 'running'
  order by f.turn_at, f.blog_id
  limit 6),
newest as (
  select f.blog_id, f.state, f.total, f.looked_at, f.notified, f.rows_per_s, f.created_at, f.ended_at
  from notify.fan_out f
  order by f.created_at desc
  limit 4),
shown as (select * from running union select * from newest)
select s.blog_id, s.state, s.total, s.looked_at, s.notified, s.rows_per_s, s.created_at, s.ended_at
from shown s
order by s.state <> 'running', s.created_at desc, s.blog_id desc
