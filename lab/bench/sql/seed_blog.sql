-- Makes a blog of account $1 that is published now and whose fan-out has ended, so that no worker notifies followers. Locks
-- only the rows it makes.
with blog as (
  insert into blogs.blog (author_id, title, body, published_at, first_published_at)
  values ($1::bigint, 'Through others', 'To be told of.', now(), now())
  returning id, first_published_at
), fan_out as (
  insert into notify.fan_out (blog_id, published_at, state, total, ended_at)
  select id, first_published_at, 'cancelled', 0, now() from blog
)
select id, first_published_at from blog
