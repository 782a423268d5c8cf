-- Writes out every dirty page. Locks no rows.
checkpoint
