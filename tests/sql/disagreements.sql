-- Everything that must agree and does not, as (what, left, right).
with ledger as (
  select coalesce(sum(n), 0)::bigint + (select dropped_n from analytics.ledger_floor) as n from analytics.envelope_ledger),
outcome as (
  select coalesce(sum(n), 0)::bigint as n from analytics.outcome),
series as (
  select blog_id, sum(views)::bigint as views, sum(likes - unlikes)::bigint as likes, sum(shares)::bigint as shares
  from analytics.blog_hour group by blog_id),
compared as (
  select 'ledger = outcomes' as what, (select n from ledger) as l, (select n from outcome) as r
  union all
  select 'parked outcomes = parked rows',
    (select coalesce(sum(n), 0)::bigint from analytics.outcome where outcome = 'parked'),
    (select count(*) from analytics.parked where in_ledger and redriven_at is null)
  union all
  select 'counted = series',
    (select coalesce(sum(n), 0)::bigint from analytics.outcome where outcome = 'counted'),
    (select coalesce(sum(views + likes + unlikes + shares), 0)::bigint from analytics.blog_hour)
  union all
  select 'views of ' || c.blog_id, c.total_views, coalesce(s.views, 0)
    from blogs.blog_counter c left join series s using (blog_id)
  union all
  select 'likes of ' || c.blog_id, c.total_likes, coalesce(s.likes, 0)
    from blogs.blog_counter c left join series s using (blog_id)
  union all
  select 'shares of ' || c.blog_id, c.total_shares, coalesce(s.shares, 0)
    from blogs.blog_counter c left join series s using (blog_id)
  union all
  select 'liking accounts of ' || c.blog_id, c.total_likes,
    (select count(*) from analytics.blog_like l where l.blog_id = c.blog_id and l.liked)
    from blogs.blog_counter c
  union all
  select 'shares by channel of ' || c.blog_id, c.total_shares,
    (select coalesce(sum(s.shares), 0)::bigint from analytics.blog_share s where s.blog_id = c.blog_id)
    from blogs.blog_counter c
  union all
  select 'followers of ' || c.account_id, sum(c.followers)::bigint,
    (select count(*) from social.follow f where f.followee_id = c.account_id)
    from social.follow_counter c group by c.account_id
  union all
  select 'followed by ' || c.account_id, sum(c.following)::bigint,
    (select count(*) from social.follow f where f.follower_id = c.account_id)
    from social.follow_counter c group by c.account_id)
select what, l, r from compared where l is distinct from r
