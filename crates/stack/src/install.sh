# Installs Debian packages so that no server starts, now or at the next boot.
#
#   sh install.sh PACKAGE...        (as root)
#
# It does not touch servers that are already installed: it only prevents newly installed ones from starting.
set -eu
export DEBIAN_FRONTEND=noninteractive
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
mark='# commonplace: denies service starts while it installs packages.'
policy=/usr/sbin/policy-rc.d
clusters=/etc/postgresql-common/createcluster.d
no_cluster=$clusters/commonplace-install.conf
made_policy=

cleanup() {
  [ -z "$made_policy" ] || rm -f "$policy"
  rm -f "$no_cluster"
}
trap cleanup EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

# Keep a policy that we did not write. One of ours was left by a run that could not clean up.
if [ ! -e "$policy" ] || grep -qF "$mark" "$policy"; then
  made_policy=yes
  printf '#!/bin/sh\n%s\nexit 101\n' "$mark" >"$policy"
  chmod 755 "$policy"
fi
mkdir -p "$clusters"
printf 'create_main_cluster = false\n' >"$no_cluster"

# Units of these packages that would start at boot. Do not touch units that already exist.
units=
for unit in rabbitmq-server.service epmd.service epmd.socket; do
  [ -e "/lib/systemd/system/$unit" ] || units="$units $unit"
done

apt-get -q -o DPkg::Lock::Timeout=300 update
apt-get -q -y -o DPkg::Lock::Timeout=300 install --no-install-recommends "$@"

# Without systemctl, systemd does not start services on this machine, but an init script may.
for unit in $units; do
  [ -e "/lib/systemd/system/$unit" ] || continue
  ! command -v systemctl >/dev/null || systemctl disable --quiet "$unit"
  script=${unit%.service}
  [ ! -e "/etc/init.d/$script" ] || update-rc.d "$script" disable
done || echo "could not disable the installed servers; they may start at the next boot"
