-- The statement that makes the database named $1 a copy of $2. Locks nothing; the statement itself locks the template.
select format('create database %I template %I', $1::text, $2::text)
