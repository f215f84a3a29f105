#!/usr/bin/env bash
# Boots a real Debian with systemd and runs a test script in it. Needs root.
#
#   boot.sh nspawn|qemu[:CPU] IMAGE OUT SECONDS TEST.sh FILE…
#
# nspawn: this machine's kernel, a boot takes two seconds; limits of memory are not enforced where it has cgroup v1.
# qemu: a kernel of its own, cgroup v2, any CPU, emulated: a boot takes a minute.
# IMAGE is a folder that image.sh has made, and stays as it is. The FILEs lie in /vm, where the test runs. Everything that the
# test says goes to standard output; OUT gets test.log, journal.txt and whatever it wrote to /vm/out. Ends with the test's code.
set -euo pipefail
way=$1 image=$2 out=$3 seconds=$4 test=$5
shift 5
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$out"
rm -rf "${out:?}"/*
work=$(mktemp -d "$(dirname "$image")/run.XXXXXX")
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/vm/out"
cp "$test" "$work/vm/test.sh"
cp "$here"/lib.sh "$@" "$work/vm/"

nspawn() {
  mkdir "$work"/{upper,workdir,root}
  # The overlay lives in a mount namespace of its own. systemd wants a terminal; with --keep-unit a reboot ends with 133.
  export image work out
  # shellcheck disable=SC2016  # For the shell that runs it.
  timeout -k 10 "$seconds" unshare --mount --propagation private bash -c '
    set -e
    mount -t overlay overlay -o "lowerdir=$image/root,upperdir=$work/upper,workdir=$work/workdir" "$work/root"
    boot="systemd-nspawn --quiet --register=no --keep-unit --machine=promptd-test-$$ --private-network \
      --bind=$work/vm:/vm --directory=$work/root --boot systemd.show_status=0"
    rc=133
    while [ $rc = 133 ]; do rc=0; script -qefc "$boot" /dev/null </dev/null || rc=$?; done
    exit $rc' || return $?
}

# nspawn leaves the two groups behind that it made in ours.
forget_groups() {
  local folder
  for folder in /sys/fs/cgroup/{unified,systemd}/{supervisor,payload}; do
    [ ! -d "$folder" ] || find "$folder" -depth -type d -exec rmdir {} + 2>/dev/null || true
  done
}

qemu() {
  mke2fs -q -t ext4 -O ^has_journal -d "$work/vm" "$work/vm.ext4" "$(($(du -sm "$work/vm" | cut -f1) + 256))M"
  # The kernel speaks on the first terminal, the test on the second.
  timeout -k 10 "$seconds" qemu-system-x86_64 -accel tcg,thread=multi,tb-size=512 -machine q35 -cpu "$1" -smp 2 -m 2048 \
    -nodefaults -display none -serial "file:$out/console.log" -serial stdio \
    -drive "file=$image/disk.ext4,if=virtio,format=raw,snapshot=on" \
    -drive "file=$work/vm.ext4,if=virtio,format=raw,cache=unsafe" \
    -kernel "$image/vmlinuz" -initrd "$image/initrd" \
    -append "console=ttyS0 quiet mitigations=off vm.terminal=ttyS1" </dev/null || return $?
  rm -r "$work/vm/out"
  debugfs -R "rdump /out $work/vm" "$work/vm.ext4" >/dev/null 2>&1
}

rc=0
case $way in
  nspawn) nspawn || rc=$?; forget_groups ;;
  qemu:*) qemu "${way#qemu:}" || rc=$? ;;
  qemu) qemu max,la57=off || rc=$? ;;
  *) echo "vm: $way is no way to boot" >&2; exit 2 ;;
esac
cp -r "$work/vm/out/." "$out/"
if [ -s "$out/rc" ]; then exit "$(cat "$out/rc")"; fi
if [ "$rc" = 124 ]; then echo "vm: not done after $seconds s" >&2; exit 124; fi
echo "vm: the guest ended without a result ($rc)" >&2
exit 125
