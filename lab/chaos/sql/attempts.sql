-- Envelopes with attempts that have not ended, or that ended in a crash of their worker. Locks nothing.
select count(*) as n from analytics.attempt
