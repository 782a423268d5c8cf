-- Creates an account; no row if the handle or the e-mail address is taken, because a unique violation would log the
-- value. Locks the new row.
insert into blogs.account (handle, email, password_hash)
values ($1::text, $2::text, $3::text)
on conflict do nothing
returning id
