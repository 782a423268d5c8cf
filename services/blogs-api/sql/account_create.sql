-- A new account, or no row if handle or e-mail is taken: a violation would log the value. Locks the new row.
insert into blogs.account (handle, email, password_hash)
values ($1::text, $2::text, $3::text)
on conflict do nothing
returning id
