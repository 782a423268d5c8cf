-- Commits a migration in the scratch database. Locks nothing.
commit
