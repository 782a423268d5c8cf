-- Deletes the attempts of an envelope that is settled, or whose attempt was given up in an orderly way. Locks the
-- envelope's row of attempts.
select analytics.end_attempt($1::uuid)
