-- Leaves nobody told of anything. What is known of ended fan-outs stays: a worker would find their blogs and tell of them again.
-- Locks the notifications against everything.
truncate notify.notification
