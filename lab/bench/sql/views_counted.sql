-- The number of views counted so far. Locks no rows.
select coalesce(sum(total_views), 0)::bigint as views from blogs.blog_counter
