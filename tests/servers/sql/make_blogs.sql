-- An author named after $1 with $2 published blogs, made as the API makes them.
with author as (
  insert into blogs.account (handle, email, password_hash)
  values (replace($1::text, '_', '-'), $1::text || '@example.org', 'no password')
  on conflict (handle) do update set handle = excluded.handle
  returning id),
blog as (
  insert into blogs.blog (author_id, title, body, published_at, first_published_at)
  select author.id, 'Blog ' || n, 'Text.', now(), now() from author, generate_series(1, $2::bigint) as n
  returning id),
counter as (
  insert into blogs.blog_counter (blog_id) select id from blog)
select id from blog order by id
