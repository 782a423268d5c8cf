-- A neighbour's heavy report over the shared tables: every blog with every other, hashed and sorted. Locks nothing, but
-- keeps old row versions alive while it runs.
select count(distinct md5(a.title || b.id || c.total_views)) as reported
from blogs.blog a
cross join (select b.id from blogs.blog b order by b.id limit $1::bigint) as b
join blogs.blog_counter c on c.blog_id = a.id
