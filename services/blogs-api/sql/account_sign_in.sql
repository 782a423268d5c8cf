-- Who signs in under a handle, the hash of the password, and what tokens are checked by. Locks nothing.
select a.id, a.password_hash, a.token_epoch, a.created_at
from blogs.account a
join blogs.active_account active on active.id = a.id
where a.handle = $1::text
