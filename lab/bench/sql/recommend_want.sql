-- Requests a new generation of neighbours. Locks the row of progress.
update recommend.progress set wanted_since = now()
