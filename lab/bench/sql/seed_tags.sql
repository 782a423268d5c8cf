-- $1 tags, two of them on each blog. Locks the rows that it makes.
with tag as (
  insert into blogs.tag (name) select 'tag-' || n from generate_series(1, $1::integer) as n returning id)
insert into blogs.blog_tag (tag_id, blog_id)
select t.id, b.id
from blogs.blog b
join (select id, row_number() over (order by id) - 1 as place from tag) t
  on t.place in (b.id / 100 % $1::integer, (b.id / 100 + 1) % $1::integer)
