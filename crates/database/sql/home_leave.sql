-- Marks the data as having no home until a restore is finished. Locks the mark.
insert into public.home (system_identifier, database_oid) values (0, 0)
on conflict (only_row) do update
set system_identifier = excluded.system_identifier, database_oid = excluded.database_oid, marked_at = excluded.marked_at
