-- Deletes every notification. Ended fan-outs stay, because a worker would otherwise find their blogs and notify again.
-- Locks the notifications against everything.
truncate notify.notification
