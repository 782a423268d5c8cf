-- Builds the statement that makes a database of this name, because the name cannot be a parameter. Locks nothing.
select format('create database %I', $1::text)
