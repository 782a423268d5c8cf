-- The views that are counted for the blogs of a site ($1), by the path where they were before. Locks nothing.
select b.source_path, b.id, c.total_views as views
from blogs.blog b
join blogs.blog_counter c on c.blog_id = b.id
where starts_with(b.source_path, $1::text || '/')
