-- An account by its id or its handle, in any state. Locks nothing.
select a.id, a.handle, a.token_epoch, a.created_at, a.suspended_at, a.deleted_at
from blogs.account a
where a.id = $1::bigint or a.handle = $2::text
