-- Returns the next blogs of a walk through the blogs that were first published in the last $3 days, for which notifications
-- are kept, newest first. For each blog, is_due says whether readers can see it although it has no fan-out or a withdrawn
-- one. The walk begins with $1 null, at blogs whose time of publishing is no further ahead than fan_out_author.sql allows.
-- Scalar subqueries keep it from reading all fan-outs and from checking for every blog whether it is live. Locks nothing.
select walked.id, walked.first_published_at,
       coalesce((select f.state = 'withdrawn' from notify.fan_out f where f.blog_id = walked.id), true)
         and coalesce((select true from blogs.live_blog l where l.id = walked.id), false) as is_due
from (
  select p.id, p.first_published_at
  from blogs.first_publishing p
  where (p.first_published_at, p.id) < (coalesce($1::timestamptz, now() + interval '60 days'), $2::bigint)
    and p.first_published_at >= now() - $3::integer * interval '1 day'
  order by p.first_published_at desc, p.id desc
  limit 1000) as walked
order by walked.first_published_at desc, walked.id desc
