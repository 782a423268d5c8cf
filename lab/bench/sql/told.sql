-- The notifications of a blog: rows, distinct recipients, and the expected number. Locks nothing.
select count(*) as rows, count(distinct n.recipient_id) as recipients,
       (select count(*)
        from blogs.blog b
        join social.follow f on f.followee_id = b.author_id and f.followed_at <= b.first_published_at
        join blogs.active_account a on a.id = f.follower_id
        where b.id = $1::bigint) as expected
from notify.notification n
where n.blog_id = $1::bigint
