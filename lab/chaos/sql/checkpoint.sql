-- Writes out everything that is dirty. Locks no rows.
checkpoint
