-- The views of one blog, as a reader would see them now. Locks nothing.
select c.total_views as views from blogs.blog_counter c where c.blog_id = $1::bigint
