-- Makes the counters and the series for seed_taste.sql. Locks the counters of the liked blogs.
with counted as (
  select l.blog_id, count(*) as likes from analytics.blog_like l where l.liked group by l.blog_id),
hour as (
  insert into analytics.blog_hour (blog_id, hour, likes)
  select c.blog_id, date_trunc('hour', now() - random() * interval '4 days'), c.likes from counted c)
update blogs.blog_counter c set total_likes = counted.likes from counted where counted.blog_id = c.blog_id
