-- Writes the statement that makes a database of this name; a name cannot be a parameter of it. Locks nothing.
select format('create database %I', $1::text)
