-- An account's request for an export: the open one, or a new one in place of one that was used or has expired. Judged by the row
-- itself, which another request may have made a moment ago. Locks the account's row of requests.
insert into blogs.export_request as r (account_id)
values ($1::bigint)
on conflict (account_id) do update
set id = case when blogs.is_open_export(r.id, r.requested_at) then r.id else gen_random_uuid() end,
    requested_at = case when blogs.is_open_export(r.id, r.requested_at) then r.requested_at else now() end
returning r.id, r.requested_at, r.requested_at + interval '7 days' as expires_at
