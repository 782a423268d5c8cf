-- Returns how many followers an active account has, and how many accounts it follows. Locks nothing.
select coalesce(sum(c.followers), 0)::bigint as followers, coalesce(sum(c.following), 0)::bigint as following
from blogs.active_account a
left join social.follow_counter c on c.account_id = a.id
where a.id = $1::bigint
group by a.id
