-- Returns the account of a handle for a sign-in, with its password hash and token epoch: an active account, or one that
-- was deleted less than $2 days ago, which a sign-in restores. Locks nothing.
select a.id, a.password_hash, a.token_epoch, a.created_at, active.id is null as is_deleted
from blogs.account a
left join blogs.active_account active on active.id = a.id
where a.handle = $1::text
  and (active.id is not null
       or (a.suspended_at is null and a.password_hash is not null
           and a.deleted_at > now() - make_interval(days => $2::integer)))
