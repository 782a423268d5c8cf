-- The text that creates a scratch database named $1. Locks nothing.
select pg_catalog.format('create database %I template template0', $1::text)
