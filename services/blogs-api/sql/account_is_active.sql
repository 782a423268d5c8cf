-- Returns whether an account may act now, whatever its token says. Locks nothing.
select exists (select from blogs.active_account a where a.id = $1::bigint) as is_active
