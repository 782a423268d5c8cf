-- How many follow an account that may act, and how many it follows. Locks nothing.
select coalesce(sum(c.followers), 0)::bigint as followers, coalesce(sum(c.following), 0)::bigint as following
from blogs.active_account a
left join social.follow_counter c on c.account_id = a.id
where a.id = $1::bigint
group by a.id
