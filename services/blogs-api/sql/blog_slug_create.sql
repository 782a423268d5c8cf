-- Gives a blog a new slug; no row if another blog has it. Locks the new row.
insert into blogs.blog_slug (slug, blog_id, is_current)
values ($1::text, $2::bigint, true)
on conflict (slug) do nothing
