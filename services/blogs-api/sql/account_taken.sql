-- Returns which of a handle and an e-mail address are taken, also by deleted accounts. Locks nothing.
select
  exists (select from blogs.account a where a.handle = $1::text) as is_handle_taken,
  exists (select from blogs.account a where lower(a.email) = lower($2::text)) as is_email_taken
