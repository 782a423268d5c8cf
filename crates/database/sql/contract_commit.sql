-- Keeps what a migration did to the scratch database. Locks nothing.
commit
