-- The token epoch of an account, when it was created, and whether it may act. Locks nothing.
select a.token_epoch, a.created_at, active.id is not null as is_active
from blogs.account a
left join blogs.active_account active on active.id = a.id
where a.id = $1::bigint
