-- A new account; a handle or e-mail that is taken violates a unique constraint. Locks the new row.
insert into blogs.account (handle, email, password_hash)
values ($1::text, $2::text, $3::text)
returning id
