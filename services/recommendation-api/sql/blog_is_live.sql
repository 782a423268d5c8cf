-- Returns whether readers can see this blog. Locks nothing.
select exists (select from blogs.live_blog l where l.id = $1::bigint) as is_live
