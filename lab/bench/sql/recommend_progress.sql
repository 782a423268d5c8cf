-- The generation that readers see. Locks nothing.
select generation from recommend.progress
