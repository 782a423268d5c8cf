-- Each of $2 accounts ($1 is before the first) follows $3 others. Locks the rows that it makes, and the counters of follows.
insert into social.follow (followee_id, follower_id)
select distinct $1::bigint + 1 + floor($2::integer * power(random(), 2) + 0 * k)::bigint, $1::bigint + n
from generate_series(1, $2::integer) as n, generate_series(1, $3::integer) as k
on conflict do nothing
