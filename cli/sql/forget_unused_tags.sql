-- Forgets tags that no blog has, through their owner. Locks the tags against whoever puts one on a blog.
select blogs.forget_unused_tags() as forgotten
