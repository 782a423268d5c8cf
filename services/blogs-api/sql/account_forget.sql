-- Removes the e-mail address and the password hash of at most $2 accounts that were deleted more than $1 days ago,
-- through the owner's function. Locks those accounts, skipping those that others hold.
select blogs.forget_deleted_accounts($1::integer, $2::integer) as forgotten
