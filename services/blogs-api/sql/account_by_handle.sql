-- Returns the active account with this handle. Locks nothing.
select a.id
from blogs.account a
join blogs.active_account active on active.id = a.id
where a.handle = $1::text
