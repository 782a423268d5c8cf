-- Makes $2 accounts that follow account $1. Locks only the rows it makes, and the counters of follows.
with account as (
  insert into blogs.account (handle, email, password_hash)
  select format('f%s-%s', $1::bigint, n), format('f%s-%s@example.org', $1::bigint, n), 'no password'
  from generate_series(1, $2::bigint) as n
  order by n
  returning id)
insert into social.follow (followee_id, follower_id)
select $1::bigint, id from account order by id
