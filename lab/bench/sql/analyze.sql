-- Leaves the tables as they are some time after the rows came: visible to all, and known to the planner. Locks the tables
-- against DDL only.
vacuum analyze
