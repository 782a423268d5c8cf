# Runs a command, and asks it to end (SIGTERM) when standard input ends: when the process at the pipe's other end
# closes it, or dies in any way.
#
# A command in the background has no standard input of its own, hence descriptor 3.
exec 3<&0 </dev/null
"$@" 3<&- &
command=$!
(
  while read -r _; do :; done <&3
  kill "$command"
  # One that is stopped would not hear it.
  kill -s CONT "$command"
) &
watcher=$!
wait "$command"
status=$?
kill "$watcher" 2>/dev/null
exit "$status"
