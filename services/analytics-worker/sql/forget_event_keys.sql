-- Forgets expired keys, at most so many. Locks those rows, passing over what others hold.
select analytics.forget_event_keys($1::integer)
