-- Makes $2 accounts named after $1, in addition to the author of its blogs.
with account as (
  insert into blogs.account (handle, email, password_hash)
  select format('%s-reader-%s', replace($1::text, '_', '-'), n), format('%s-reader-%s@example.org', $1::text, n), 'no password'
  from generate_series(1, $2::bigint) as n
  on conflict (handle) do update set handle = excluded.handle
  returning id)
select id from account order by id
