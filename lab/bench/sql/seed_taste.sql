-- Makes $1 likes by $2 accounts ($3 is the id before the first) of $4 blogs ($5 is the id before the first), which form groups of
-- 100. Four of five likes go to the account's own group, more often to its first blogs; the rest go to any blog, far more often
-- to the first ones. Locks the rows that it makes.
insert into analytics.blog_like (blog_id, account_id, liked, version_us, version_id)
select distinct on (drawn.blog, drawn.account)
       $5::bigint + 1 + drawn.blog, $3::bigint + 1 + drawn.account, true,
       (extract(epoch from now()) * 1000000)::bigint - drawn.n, gen_random_uuid()
from (
  select n.n, a.account,
         case when random() < 0.8
              then (a.account % ($4::integer / 100)) * 100 + floor(100 * power(random(), 2))::bigint
              else floor($4::integer * power(random(), 3))::bigint end as blog
  from generate_series(1, $1::integer) as n (n)
  cross join lateral (select floor($2::integer * power(random(), 1.3) + 0 * n.n)::bigint as account) a) drawn
order by drawn.blog, drawn.account
