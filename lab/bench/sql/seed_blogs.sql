-- Makes one author and $1 published blogs, each with its address and its counters, but without a first publication, so that
-- no follower is notified. Locks only the rows it makes.
with author as (
  insert into blogs.account (handle, email, password_hash)
  values ('bench', 'bench@example.org', 'no password')
  returning id
), blog as (
  insert into blogs.blog (author_id, title, body, published_at)
  select author.id, 'Blog ' || n, 'Made to be viewed.', now()
  from author, generate_series(1, $1::integer) as n
  returning id
), slug as (
  insert into blogs.blog_slug (slug, blog_id, is_current)
  select 'blog-' || id, id, true from blog
), counter as (
  insert into blogs.blog_counter (blog_id)
  select id from blog
)
select id from blog order by id
