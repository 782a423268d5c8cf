-- The statement that removes the database named $1 and ends who is in it. Locks nothing by itself.
select format('drop database if exists %I with (force)', $1::text)
