#!/bin/bash
# In the guest: runs /vm/test.sh as root, in as many boots as it wants, and switches off. It finds out in $BOOT which boot this
# is, and reboots with exit code 75. What it writes into /vm/out comes back.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive
mountpoint -q /vm || { mkdir -p /vm; mount /dev/vdb /vm; } || systemctl poweroff --force --force
terminal=/dev/console
grep -q vm.terminal=ttyS1 /proc/cmdline && terminal=/dev/ttyS1
BOOT=$(($(cat /vm/boot 2>/dev/null || echo 0) + 1))
export BOOT
echo "$BOOT" >/vm/boot
run() {
  echo "== boot $BOOT: kernel $(uname -r), $(systemctl --version | head -n 1), $(stat -fc %T /sys/fs/cgroup), up $(cut -d' ' -f1 /proc/uptime) s"
  cd /vm && bash -e ./test.sh
}
run > >(tee -a /vm/out/test.log >"$terminal") 2>&1
rc=$?
if [ "$rc" = 75 ] && [ "$BOOT" -lt 10 ]; then sync; systemctl reboot; exit 0; fi
echo "$rc" >/vm/out/rc
journalctl -o short-precise --no-pager >/vm/out/journal.txt 2>&1
sync
systemctl poweroff
