-- Returns which of these blogs are live. Locks nothing.
select l.id from blogs.live_blog l where l.id = any ($1::bigint[])
