-- An account's request for an export: the open one, or a new one in place of one that was used or has expired. Locks the
-- account's row of requests.
insert into blogs.export_request as r (account_id)
values ($1::bigint)
on conflict (account_id) do update
set id = coalesce((select o.id from blogs.open_export_request o where o.account_id = r.account_id), gen_random_uuid()),
    requested_at = coalesce(
      (select o.requested_at from blogs.open_export_request o where o.account_id = r.account_id), now())
returning r.id, r.requested_at, r.requested_at + interval '7 days' as expires_at
