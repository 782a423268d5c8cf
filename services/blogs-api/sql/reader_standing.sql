-- Returns whether the reader, $1, likes the blog, $2, and follows its author, $3. Locks nothing.
select exists (select from analytics.blog_like l
               where l.blog_id = $2::bigint and l.account_id = $1::bigint and l.liked) as likes,
       exists (select from social.follow f
               where f.followee_id = $3::bigint and f.follower_id = $1::bigint) as follows
