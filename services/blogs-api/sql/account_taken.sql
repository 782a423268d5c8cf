-- Returns whether a handle and whether an e-mail address is taken; deleted accounts count too. Locks nothing.
select
  exists (select from blogs.account a where a.handle = $1::text) as is_handle_taken,
  exists (select from blogs.account a where lower(a.email) = lower($2::text)) as is_email_taken
