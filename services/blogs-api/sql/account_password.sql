-- Returns what an account's current and new passwords are checked against. Locks nothing.
select a.password_hash, a.handle, a.email
from blogs.account a
join blogs.active_account active on active.id = a.id
where a.id = $1::bigint
