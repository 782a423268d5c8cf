-- Who signs in under a handle, and the hash of the password. Locks nothing.
select a.id, a.password_hash, a.token_epoch
from blogs.account a
join blogs.active_account active on active.id = a.id
where a.handle = $1::text
