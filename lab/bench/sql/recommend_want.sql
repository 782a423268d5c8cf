-- Asks for a generation of neighbours to be made anew. Locks the row of progress.
update recommend.progress set wanted_since = now()
