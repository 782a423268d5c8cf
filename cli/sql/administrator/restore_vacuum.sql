-- Collects the planner's statistics and says which pages need no look at the rows: a dump carries neither. Locks no rows; each
-- table in turn against changes of its schema.
vacuum (analyze)
