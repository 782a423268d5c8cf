# Runs a server and ends it when standard input ends, that is when the process at the pipe's other end
# stops it or dies in any way.
#
#   sh -c guard.sh PROCESSES SIGNAL GRACE_S AFTER CONTAINER COMMAND...
#
# PROCESSES is the file that standard output leads to; here it only tells people whose guard this is.
# SIGNAL is what asks the server to stop. After GRACE_S seconds it is killed. AFTER names the file of
# another guard that must be done first, or is empty. CONTAINER, where it is not empty, is stopped through
# docker.
#
# Standard output is a file that our starter holds locked. The lock is inherited by everything below, so
# that it is free exactly when nothing of ours lives any more. Our id, the server's and the signal are
# written into it.
#
# A line `keep FILE` on standard input, before it ends, keeps the server running after its starter: it is then asked to
# stop when FILE is removed.
#
# What a server makes by itself, such as further logs, only its own account may read.
umask 077
signal=$1 grace_s=$2 after=$3 container=$4
shift 4
exec 3<&0

"$@" </dev/null 4>&1 1>&2 3<&- &
server=$!
printf '%s %s %s\n' "$$" "$server" "$signal"

# The watcher. Without job control a background command has no standard input of its own, hence descriptor
# 3. It keeps standard output, and with it the lock, because what it runs is ours too.
(
  kept=
  while read -r word file; do
    if [ "$word" = keep ]; then kept=$file; fi
  done <&3
  # Without the lock, which the sleep would hold for a moment longer than the guard lives.
  while [ -n "$kept" ] && [ -e "$kept" ] && kill -0 "$$" 2>/dev/null; do sleep 0.2 >&2; done
  waited=0
  limit=$((grace_s * 20))
  if [ -n "$after" ] && read -r _ other _ <"$after"; then
    while kill -0 "$other" 2>/dev/null && [ "$waited" -lt "$limit" ]; do
      sleep 0.05
      waited=$((waited + 1))
    done
  fi
  if [ -n "$container" ]; then
    docker stop -t "$grace_s" "$container" >/dev/null 2>&1
    docker rm --force "$container" >/dev/null 2>&1
    exit
  fi
  # While the guard lives, it has not waited for the server, whose id can thus belong to nobody else.
  kill -0 "$$" 2>/dev/null && kill -s "$signal" "$server" 2>/dev/null
  # One that is stopped hears it only when it goes on.
  kill -0 "$$" 2>/dev/null && kill -s CONT "$server" 2>/dev/null
  waited=0
  while kill -0 "$$" 2>/dev/null && [ "$waited" -lt "$limit" ]; do
    sleep 0.05
    waited=$((waited + 1))
  done
  kill -0 "$$" 2>/dev/null && kill -s KILL "$server" 2>/dev/null
) &
watcher=$!

wait "$server"
status=$?
# A watcher of a container ends by itself, once the container is gone and not just its client.
[ -n "$container" ] || kill "$watcher" 2>/dev/null
exit "$status"
