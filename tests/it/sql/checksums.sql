-- A checksum of each table that engagement writes, without what depends on the moment (hours, versions, ids) and
-- without blog_like.was_liked, which is scratch space of the upsert.
select 'blog_counter' as name, count(*) as rows,
       md5(string_agg(format('%s|%s|%s|%s', blog_id, total_views, total_likes, total_shares), ',' order by blog_id)) as checksum
from blogs.blog_counter
union all
select 'blog_view', count(*), md5(string_agg(format('%s|%s', blog_id, visitor), ',' order by blog_id, visitor))
from analytics.blog_view
union all
select 'blog_view_history', count(*),
       md5(string_agg(format('%s|%s|%s', window_start, blog_id, visitor), ',' order by window_start, blog_id, visitor))
from analytics.blog_view_history
union all
select 'event_key', count(*), md5(string_agg(format('%s|%s', key, expires_at is null), ',' order by key))
from analytics.event_key
union all
-- How events are grouped into envelopes may differ between the paths.
select 'ledger, summed', 1::bigint, md5(format('%s', sum(n)))
from analytics.envelope_ledger
union all
select 'blog_like', count(*), md5(string_agg(format('%s|%s|%s', blog_id, account_id, liked), ',' order by blog_id, account_id))
from analytics.blog_like
union all
select 'blog_share', count(*), md5(string_agg(format('%s|%s|%s', blog_id, channel, shares), ',' order by blog_id, channel))
from analytics.blog_share
union all
select 'blog_hour', count(*), md5(string_agg(format('%s|%s|%s|%s|%s', blog_id, views, likes, unlikes, shares), ',' order by blog_id))
from (select blog_id, sum(views) as views, sum(likes) as likes, sum(unlikes) as unlikes, sum(shares) as shares
      from analytics.blog_hour group by blog_id) as hour
union all
select 'outcome', count(*), md5(string_agg(format('%s|%s|%s', kind, outcome, n), ',' order by kind, outcome))
from (select kind, outcome, sum(n) as n from analytics.outcome group by kind, outcome) as outcome
