# Runs a server and stops it when standard input ends, that is when the process at the other end of the pipe stops it or dies.
#
#   sh -c guard.sh PROCESSES SIGNAL GRACE_S AFTER CONTAINER COMMAND...
#
# PROCESSES is the file that standard output goes to; the argument only makes the guard recognizable in `ps`. SIGNAL asks the
# server to stop. After GRACE_S seconds it is killed. AFTER is the processes file of another guard that must end first, or
# empty. CONTAINER, if not empty, is stopped through docker.
#
# Standard output is a file that the starter has locked. All descendants inherit the lock, so it is free exactly when none of
# them is alive. The guard writes its own id, the server's id and the signal into the file.
#
# A line `keep FILE` on standard input keeps the server running after its starter ends; the guard stops it when FILE is
# removed.
#
# Files that a server creates itself, such as further logs, are readable only by its own account.
umask 077
signal=$1 grace_s=$2 after=$3 container=$4
shift 4
exec 3<&0

"$@" </dev/null 4>&1 1>&2 3<&- &
server=$!
printf '%s %s %s\n' "$$" "$server" "$signal"

# The watcher. Without job control a background command has no standard input, hence descriptor 3. It keeps standard output
# and so the lock, because the commands it runs belong to the guard, too.
(
  kept=
  while read -r word file; do
    if [ "$word" = keep ]; then kept=$file; fi
  done <&3
  # Redirected, because the sleep would otherwise hold the lock for a moment after the guard has ended.
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
  # While the guard lives it has not waited for the server, so the server's id cannot belong to another process.
  kill -0 "$$" 2>/dev/null && kill -s "$signal" "$server" 2>/dev/null
  # A suspended server receives the signal only after it continues.
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
# The watcher of a container ends by itself once the container, not only its client, is gone.
[ -n "$container" ] || kill "$watcher" 2>/dev/null
exit "$status"
