-- Puts the tables into the state that autovacuum would reach: all rows visible to everyone, and statistics collected. Locks the
-- tables against DDL only.
vacuum analyze
