-- Which generation is shown. Locks nothing.
select generation from recommend.progress
