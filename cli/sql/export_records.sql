-- Past exports, the newest first; an erased account has no handle. Locks nothing.
select e.request_id, e.account_id, a.handle, e.requested_at, e.exported_at, e.exported_by, e.client
from blogs.export_record e
left join blogs.account a on a.id = e.account_id
order by e.exported_at desc, e.request_id
limit $1::bigint
