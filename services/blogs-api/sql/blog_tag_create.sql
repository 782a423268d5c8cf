-- Adds tags to a blog. Locks the new rows.
insert into blogs.blog_tag (tag_id, blog_id)
select t.id, $1::bigint
from blogs.tag t
where t.name = any ($2::text[])
order by t.id
on conflict do nothing
