-- Writes out the dirty pages of earlier cells, so that the next cell does not pay for them. Locks no rows.
checkpoint
