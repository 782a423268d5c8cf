-- Waits for a blog of this author, so that a later statement reads the clock after the wait. Locks that blog.
select from blogs.blog
where id = $1::bigint and author_id = $2::bigint and deleted_at is null
for no key update
