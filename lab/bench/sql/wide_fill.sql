-- Copies every blog into the wide table, each with an incompressible body of about $1 bytes. Locks the new rows only.
insert into public.wide_blog (
  id, author_id, title, body, version, created_at, updated_at, published_at, first_published_at)
select b.id, b.author_id, b.title, body.text, b.version, b.created_at, b.updated_at, b.published_at, b.first_published_at
from blogs.blog b
cross join lateral (
  select string_agg(md5(b.id || '-' || n), '') as text from generate_series(1, $1::integer / 32) as n
) as body
order by b.id
