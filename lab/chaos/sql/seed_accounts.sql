-- Makes $1 accounts that may act, and returns their ids. Locks only the rows it makes.
with account as (
  insert into blogs.account (handle, email, password_hash)
  select 'reader-' || n, format('reader-%s@example.org', n), 'no password'
  from generate_series(1, $1::integer) as n
  returning id)
select id from account order by id
