-- Envelopes with tries that are not over, or that ended with their worker. Locks nothing.
select count(*) as n from analytics.attempt
