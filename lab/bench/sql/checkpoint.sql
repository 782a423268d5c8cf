-- Writes out what earlier cells left dirty, so that the next one does not pay for it. Locks no rows.
checkpoint
