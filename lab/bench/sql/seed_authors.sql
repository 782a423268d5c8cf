-- Distributes the blogs over $2 accounts ($1 is the id before the first). Locks all blogs.
update blogs.blog set author_id = $1::bigint + 1 + id % $2::integer
