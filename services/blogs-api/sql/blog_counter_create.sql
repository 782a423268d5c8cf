-- Creates the counters of a new blog, in the transaction that creates the blog. Locks the new row.
insert into blogs.blog_counter (blog_id) values ($1::bigint)
