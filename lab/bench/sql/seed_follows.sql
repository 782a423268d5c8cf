-- Makes each of $2 accounts ($1 is the id before the first) follow up to $3 others. Locks the rows that it makes, and the
-- counters of follows.
insert into social.follow (followee_id, follower_id)
select distinct drawn.followee, drawn.follower
from (
  select $1::bigint + 1 + floor($2::integer * power(random(), 2))::bigint as followee, $1::bigint + n as follower
  from generate_series(1, $2::integer) as n, generate_series(1, $3::integer) as k) drawn
where drawn.followee <> drawn.follower
