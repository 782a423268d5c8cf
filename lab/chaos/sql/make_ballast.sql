-- Makes a table unrelated to the system, so that checkpoints have pages to write. Locks nothing.
create table public.ballast (filling text not null)
