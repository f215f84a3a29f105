# shellcheck shell=bash
# A gateway's life: installed, without a model, with one, in every trouble, upgraded, rebooted, removed.
. ./lib.sh

conffile=/etc/promptd/promptd.toml
settings=/etc/promptd/conf.d/20-gateway.toml
sha256=$(sha256sum model.gguf | cut -d' ' -f1)

first_boot() {
  install_site
  printf '[engine]\nheartbeat_timeout = "5s"\n\n[limits]\nmax_tokens_cap = 512\n' >"$settings"

  step 'apt install'
  apt-get install -y -q --no-install-recommends -o Dpkg::Use-Pty=0 ./promptd_*.deb >apt.log 2>&1 || { cat apt.log; fail 'apt'; }
  until_true 30 systemctl is-active promptd || fail 'not active after the installation'
  systemctl is-enabled promptd || fail 'not enabled'
  systemd-analyze security --no-pager promptd | tail -n 1
  systemd-analyze security --threshold=15 --no-pager promptd >/dev/null || fail 'exposed more than 1.5'

  step 'without a model it is up and says what to do'
  until_true 10 is_state no_model || fail 'the state is not no_model'
  systemctl status --no-pager promptd | tee status.txt
  grep -q 'Status:.*promptd model add' status.txt || fail 'STATUS= does not say what to do'
  journalctl --no-pager --unit promptd | grep -q 'promptd model add' || fail 'the log does not say what to do'

  add_model 60
  stat -c '%U %a %n' /var/lib/promptd/models/*.gguf
  promptd model add ./model.gguf --sha256 "$sha256" || fail 'to add it again is no error'

  step 'a device asks from its own network'
  answers 90 || fail 'no answer'
  systemctl status --no-pager promptd
  promptd models

  step 'the journal has fields'
  journalctl --no-pager --unit promptd --output json >journal.json
  for field in MODEL STRATEGY; do
    grep -q "\"$field\"" journal.json || fail "no field $field in the journal"
  done
}

killed() {
  local engine daemon
  step 'the engine is killed'
  engine=$(engine_of)
  kill -KILL "$engine"
  until_true 60 is_another engine_of "$engine" || fail 'no other engine'
  until_true 60 is_state ready || fail 'not ready again'
  answers 90 || fail 'no answer'

  step 'the engine is stopped: its heartbeat is missed'
  engine=$(engine_of)
  kill -STOP "$engine"
  ask 60 >late.json & asked=$!
  until_true 60 is_another engine_of "$engine" || fail 'no other engine'
  wait "$asked" || fail 'the job of the stopped engine was lost'
  grep '"event":"result"' late.json || fail 'the job of the stopped engine has no result'

  step 'the daemon is killed'
  daemon=$(pid_of)
  kill -KILL "$daemon"
  until_true 60 is_another pid_of "$daemon" || fail 'no other daemon'
  until_true 60 is_state ready || fail 'not ready again'
  answers 90 || fail 'no answer'
  [ "$(pgrep -fc 'promptd engine')" = 1 ] || fail 'an engine was left behind'

  step 'the daemon is stopped: the watchdog bites'
  mkdir -p /etc/systemd/system/promptd.service.d
  printf '[Service]\nWatchdogSec=5\nTimeoutAbortSec=2\n' >/etc/systemd/system/promptd.service.d/vm.conf
  systemctl daemon-reload
  systemctl restart promptd
  until_true 60 is_state ready || fail 'not ready'
  daemon=$(pid_of)
  kill -STOP "$daemon"
  until_true 60 is_another pid_of "$daemon" || fail 'the watchdog did not bite'
  journalctl --no-pager --unit promptd | grep -i 'watchdog timeout' || fail 'it was not the watchdog'
  until_true 60 is_state ready || fail 'not ready again'
  answers 90 || fail 'no answer'
  rm /etc/systemd/system/promptd.service.d/vm.conf
  systemctl daemon-reload
}

configured() {
  local engine daemon
  engine=$(engine_of) daemon=$(pid_of)
  step 'a changed configuration is reloaded, and the model stays loaded'
  sed -i 's/max_tokens_cap = 512/max_tokens_cap = 300/' "$settings"
  systemctl reload promptd
  until_true 20 cap_is 300 || fail 'the new limit is not in force'
  [ "$(engine_of)" = "$engine" ] || fail 'the model was loaded again'

  step 'a broken configuration is refused, and promptd goes on'
  cp "$settings" good.toml
  echo 'max_tokens_cup = 5' >>"$settings"
  systemctl reload promptd
  until_true 20 is_state misconfigured || fail 'not misconfigured'
  answers 90 || fail 'no answer'
  [ "$(engine_of) $(pid_of)" = "$engine $daemon" ] || fail 'something was restarted'

  step 'started with it, the last good one is in force'
  systemctl restart promptd
  until_true 60 serves || fail 'the model does not serve'
  is_state misconfigured || fail 'not misconfigured'
  systemctl status --no-pager promptd | sed -n '1,8p'
  answers 90 || fail 'no answer'
  promptd check && fail 'check finds nothing wrong'
  cp good.toml "$settings"
  systemctl reload promptd
  until_true 60 is_state ready || fail 'not ready after it was mended'

  step 'without a last good one it ends with 78, and is not tried again'
  systemctl stop promptd
  mv /var/lib/promptd /var/lib/promptd.away
  echo '[limits' >>"$settings"
  systemctl start promptd && fail 'it started'
  until_true 20 systemctl is-failed promptd || fail 'not failed'
  [ "$(systemctl show --property ExecMainStatus --value promptd)" = 78 ] || fail 'another exit code'
  [ "$(systemctl show --property NRestarts --value promptd)" = 0 ] || fail 'it was tried again'
  journalctl --no-pager --lines 5 --unit promptd
  rm -rf /var/lib/promptd
  mv /var/lib/promptd.away /var/lib/promptd
  cp good.toml "$settings"
  systemctl start promptd
  until_true 60 is_state ready || fail 'not ready after it was mended'
}

cap_is() { promptd info --json | grep -q "\"max_tokens_cap\": *$1\b"; }

surrounded() {
  step 'the broker is away when promptd starts'
  systemctl stop mosquitto
  systemctl restart promptd
  until_true 60 systemctl is-active promptd || fail 'not active without a broker'
  systemctl start mosquitto
  until_true 60 answers 5 || fail 'no answer'

  step 'the disk is full'
  systemctl stop promptd
  mount -t tmpfs -o size=8m,mode=0750,uid="$(id -u promptd)",gid="$(id -g promptd)" tmpfs /var/lib/promptd
  mkdir /var/lib/promptd/models
  mkdir /models
  cp model.gguf /models/
  cp /etc/promptd/conf.d/model-main.toml model-main.toml
  sed -i 's,/var/lib/promptd/models/,/models/,' /etc/promptd/conf.d/model-main.toml
  dd if=/dev/zero of=/var/lib/promptd/fill bs=4k 2>/dev/null || true
  systemctl start promptd
  until_true 60 systemctl is-active promptd || fail 'not active'
  until_true 60 serves || fail 'the model does not serve'
  until_true 10 is_state degraded || fail 'not degraded'
  ask 90 >refused.json || fail 'no answer'
  grep '"code":"storage_full"' refused.json || fail 'work was accepted that cannot be kept'
  promptd model add ./model.gguf --name other && fail 'a model was added to a full disk'
  [ -z "$(ls /var/lib/promptd/models)" ] || fail 'an import was left behind'
  rm /var/lib/promptd/fill
  until_true 60 is_state ready || fail 'not ready when there is room again'
  answers 90 || fail 'no answer'
  systemctl stop promptd
  umount /var/lib/promptd
  cp model-main.toml /etc/promptd/conf.d/
  rm -r /models
  systemctl start promptd
  until_true 60 is_state ready || fail 'not ready'
}

upgraded() {
  step 'an upgrade while jobs run and wait'
  echo '# A line of the operator.' >>"$conffile"
  local daemon idle number asked=()
  # Before the jobs, which would end meanwhile.
  mkdir next
  dpkg-deb --raw-extract promptd_*.deb next
  sed -i 's/^Version: .*/&+next/' next/DEBIAN/control
  dpkg-deb --build next promptd-next.deb >/dev/null
  daemon=$(pid_of) idle=$(ticks)
  for number in {1..8}; do
    TOKENS=300 ask 180 >"job$number.json" &
    asked+=("$!")
  done
  until_true 20 jobs_are 8 || fail 'the jobs were not accepted'
  until_true 20 computes_since "$idle" || fail 'no job runs'
  promptd jobs
  apt-get install -y -q -o Dpkg::Use-Pty=0 ./promptd-next.deb >apt.log 2>&1 || { cat apt.log; fail 'apt'; }
  for number in {1..8}; do
    wait "${asked[number - 1]}" || fail "job $number was lost"
    grep '"event":"result"' "job$number.json" || fail "job $number has no result"
  done
  journalctl --no-pager --unit promptd | grep -E 'jobs wait in the journal|earlier runs have left' || fail 'no job waited for the next run'
  is_another pid_of "$daemon" || fail 'the daemon was not restarted'
  until_true 60 is_state ready || fail 'not ready'
  answers 90 || fail 'no answer'
  grep -q 'A line of the operator' "$conffile" || fail 'the settings of the operator are lost'
  dpkg-query --show promptd
}

# What the engine has computed so far, in hundredths of a second of one core.
ticks() { sed 's/.*) //' "/proc/$(engine_of)/stat" | cut -d' ' -f12; }

jobs_are() { promptd jobs --json | grep -qE "\"total\": *$1,?\$"; }

computes_since() { [ "$(ticks)" -gt $(($1 + 10)) ]; }

second_boot() {
  step 'after a reboot it is there by itself'
  until_true 60 systemctl is-active promptd || fail 'not active'
  until_true 60 is_state ready || fail 'not ready'
  echo "ready $(milliseconds_since UserspaceTimestampMonotonic '') ms after systemd began," \
    "$(milliseconds_since InactiveExitTimestampMonotonic promptd) ms after its own start"
  connect_device
  answers 90 || fail 'no answer'
  promptd doctor || fail 'doctor'
}

# milliseconds_since TIMESTAMP UNIT: from that time of a unit, or of systemd itself, to READY=1.
milliseconds_since() {
  # shellcheck disable=SC2086  # No unit is no argument.
  echo $((($(systemctl show --property ActiveEnterTimestampMonotonic --value promptd) - $(systemctl show --property "$1" --value $2)) / 1000))
}

removed() {
  step 'removed: the state stays'
  apt-get remove -y -q -o Dpkg::Use-Pty=0 promptd >apt.log 2>&1 || { cat apt.log; fail 'apt'; }
  [ -e /var/lib/promptd/models/model.gguf ] || fail 'the model is gone'
  [ -e "$conffile" ] || fail 'the settings are gone'
  step 'purged: nothing stays'
  apt-get purge -y -q -o Dpkg::Use-Pty=0 promptd >apt.log 2>&1 || { cat apt.log; fail 'apt'; }
  find / -xdev \( -path /proc -o -path /sys -o -path /vm -o -path /var/log -o -path /usr/share/doc \) -prune -o -iname '*promptd*' -print >left.txt
  cat left.txt
  [ ! -s left.txt ] || fail 'files were left'
  ! systemctl cat promptd 2>/dev/null || fail 'the unit was left'
}

case $BOOT in
  1) first_boot; killed; configured; surrounded; upgraded; exit 75 ;;
  2) second_boot; removed ;;
esac
