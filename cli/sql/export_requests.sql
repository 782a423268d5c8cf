-- Open requests for an export, the oldest first. Locks nothing.
select o.id, o.account_id, a.handle, o.requested_at, o.expires_at
from blogs.open_export_request o
join blogs.account a on a.id = o.account_id
order by o.requested_at, o.id
limit $1::bigint
