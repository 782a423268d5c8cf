-- Forgets the tries of an envelope that is settled, or whose try was given up in order. Locks its row.
select analytics.end_attempt($1::uuid)
