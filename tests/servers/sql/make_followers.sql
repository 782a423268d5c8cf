-- $2 new accounts that follow $1.
with account as (
  insert into blogs.account (handle, email, password_hash)
  select format('f%s-%s', gen, n), format('f%s-%s@example.org', gen, n), 'no password'
  from (select count(*) as gen from blogs.account) as before, generate_series(1, $2::bigint) as n
  order by n
  returning id),
follow as (
  insert into social.follow (followee_id, follower_id)
  select $1::bigint, id from account order by id)
select id from account order by id
