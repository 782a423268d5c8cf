-- The server's durability settings for the current role. Locks no rows.
select
  current_setting('server_version') as server_version,
  current_setting('fsync') as fsync,
  current_setting('synchronous_commit') as synchronous_commit,
  current_setting('full_page_writes') as full_page_writes,
  current_setting('shared_buffers') as shared_buffers
