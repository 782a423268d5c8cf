-- Collects the planner's statistics and sets the visibility map, which a dump does not contain. Locks no rows, but each table
-- in turn against changes of its schema.
vacuum (analyze)
