-- The statement that makes the database named $1. Locks nothing; the statement itself locks the template.
select format('create database %I', $1::text)
