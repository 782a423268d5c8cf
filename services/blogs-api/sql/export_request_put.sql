-- Returns an account's open export request, or creates one in place of a used or expired one. It decides by the current
-- row, which another request may have written a moment ago. Locks the account's row of requests.
insert into blogs.export_request as r (account_id)
values ($1::bigint)
on conflict (account_id) do update
set id = case when blogs.is_open_export(r.id, r.requested_at) then r.id else gen_random_uuid() end,
    requested_at = case when blogs.is_open_export(r.id, r.requested_at) then r.requested_at else now() end
returning r.id, r.requested_at, r.requested_at + interval '7 days' as expires_at
