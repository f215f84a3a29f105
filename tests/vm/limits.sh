# shellcheck shell=bash
# Limits of memory, which only a kernel with cgroup v2 enforces here: promptd steps down instead of dying.
. ./lib.sh

install_site
apt-get install -y -q --no-install-recommends -o Dpkg::Use-Pty=0 ./promptd_*.deb >apt.log 2>&1 || { cat apt.log; fail 'apt'; }
cp f16.gguf int8.gguf int4.gguf /var/lib/promptd/models/
chown promptd: /var/lib/promptd/models/*
cat >/etc/promptd/conf.d/model-main.toml <<'CONF'
[[model]]
name = "main"
ladder = ["cpu:f16", "cpu:int8", "cpu:int4"]
min_context = 512
[[model.files]]
path = "/var/lib/promptd/models/f16.gguf"
[[model.files]]
path = "/var/lib/promptd/models/int8.gguf"
[[model.files]]
path = "/var/lib/promptd/models/int4.gguf"
CONF

strategy() { promptd models | awk '$1 == "main" { print $3; exit }'; }

# limited MIB STRATEGY: under a limit of MIB the model runs with STRATEGY, and nothing is killed.
limited() {
  step "MemoryMax=$1M"
  mkdir -p /etc/systemd/system/promptd.service.d
  printf '[Service]\nMemoryMax=%sM\n' "$1" >/etc/systemd/system/promptd.service.d/limit.conf
  systemctl daemon-reload
  systemctl restart promptd
  until_true 300 serves || fail 'no model serves'
  promptd models
  [ "$(strategy)" = "$2" ] || fail "it runs with $(strategy), not $2"
  TOKENS=4 answers 300 || fail 'no answer'
  grep . "/sys/fs/cgroup/system.slice/promptd.service/memory."{max,peak,events} 2>/dev/null || true
  [ "$(systemctl show --property NRestarts --value promptd)" = 0 ] || fail 'the daemon died'
  grep -q '^oom_kill 0$' /sys/fs/cgroup/system.slice/promptd.service/memory.events || fail 'the kernel killed something'
}

limited 1024 cpu:f16
limited 300 cpu:int8
limited 220 cpu:int4
