-- A new blog, published at once or a draft; a source path that is taken violates a unique constraint. Locks the new row.
insert into blogs.blog (author_id, title, body, published_at, first_published_at, source_path)
select $1::bigint, $2::text, $3::text, published.at, published.at, $5::text
from (select case when $4::boolean then now() end as at) published
returning id
