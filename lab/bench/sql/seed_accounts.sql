-- Makes $1 accounts and returns their ids. Locks only the rows it makes.
with account as (
  insert into blogs.account (handle, email, password_hash)
  select format('r%s', n), format('r%s@example.org', n), 'no password'
  from generate_series(1, $1::integer) as n
  returning id)
select id from account order by id
