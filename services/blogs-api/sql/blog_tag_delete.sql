-- Removes from a blog the tags that are not among these. Locks the rows it removes; only the blog's author runs this
-- statement.
delete from blogs.blog_tag bt
using blogs.tag t
where bt.blog_id = $1::bigint and t.id = bt.tag_id and t.name <> all ($2::text[])
