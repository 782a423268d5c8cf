-- The statement that drops the database named $1 and ends its sessions. Locks nothing by itself.
select format('drop database if exists %I with (force)', $1::text)
