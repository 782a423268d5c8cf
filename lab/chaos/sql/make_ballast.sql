-- A table that has nothing to do with the system, so that checkpoints have something to write. Locks nothing.
create table public.ballast (filling text not null)
