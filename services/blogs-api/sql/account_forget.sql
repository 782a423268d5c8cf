-- Forgets e-mail address and password hash of accounts that were deleted more than $1 days ago, through their owner, at most $2
-- at a time. Locks those accounts, passing over those that others hold.
select blogs.forget_deleted_accounts($1::integer, $2::integer) as forgotten
