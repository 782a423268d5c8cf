-- Drops an old day, if nothing has waited for it for a day. Locks the parent against everything, for at most 200 ms of waiting.
select analytics.drop_day($1::text, $2::date, $3::integer)
