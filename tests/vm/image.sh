#!/usr/bin/env bash
# Makes the Debian that tests boot, or finds the one that it has made before, and prints its folder. $1: where images lie.
#
# In the folder: root/ for systemd-nspawn; disk.ext4, vmlinuz and initrd for QEMU. The guest has no network: what the package
# depends on is in it.
set -euo pipefail
# The folder alone goes to standard output, whatever the tools below print.
exec 3>&1 1>&2
here=$(cd "$(dirname "$0")" && pwd)
suite=bookworm
packages=(
  systemd systemd-sysv dbus udev kmod procps iproute2 adduser
  mosquitto mosquitto-clients openssl ca-certificates
  libgomp1 libstdc++6 libvulkan1                     # what the packages link against
)

# An image is as old as its recipe.
key=$({ echo "$suite ${packages[*]}"; cat "$here/image.sh" "$here/agent.sh"; } | sha256sum | cut -c1-16)
image=$1/$key
if [ -e "$image/complete" ]; then echo "$image" >&3; exit 0; fi

mkdir -p "$1"
work=$(mktemp -d "$1/unfinished.XXXXXX")
trap 'rm -rf "$work"' EXIT
echo "vm: making an image of Debian $suite"
root=$work/root
cat >"$work/fetch-kernel" <<'HOOK'
#!/bin/sh
chroot "$1" sh -ec 'mkdir /kernel; cd /kernel; apt-get -qq download "$(apt-cache depends linux-image-cloud-amd64 | sed -n "s/.*Depends: \(linux-image-[0-9]\)/\1/p")"'
HOOK
chmod +x "$work/fetch-kernel"
mmdebstrap --quiet --variant=minbase --include="$(IFS=,; echo "${packages[*]}")" --format=directory \
  --aptopt='Acquire::Languages "none"' \
  --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
  --customize-hook="$work/fetch-kernel" "$suite" "$root"

# The kernel is unpacked: to install it would build an initrd that nobody needs. Its modules go into the guest.
dpkg-deb -x "$root"/kernel/linux-image-*.deb "$work/kernel"
rm -r "$root/kernel"
cp "$work"/kernel/boot/vmlinuz-* "$work/vmlinuz"
version=$(basename "$work"/kernel/lib/modules/*)
mkdir -p "$root/usr/lib/modules"
mv "$work/kernel/lib/modules/$version" "$root/usr/lib/modules/"
depmod -b "$root" "$version"

# A small initrd: busybox, the modules of the disk, and what mounts it.
initrd=$work/initrd.d
mkdir -p "$initrd"/{bin,dev,proc,newroot,modules}
cp /bin/busybox "$initrd/bin/"
modules=()
while read -r _ file _; do
  name=$(basename "${file%.xz}")
  case " ${modules[*]} " in *" $name "*) continue ;; esac
  case $file in *.xz) xz -dc "$file" >"$initrd/modules/$name" ;; *) cp "$file" "$initrd/modules/" ;; esac
  modules+=("$name")
done < <(for module in virtio_pci virtio_blk; do modprobe -d "$root" -S "$version" --show-depends "$module" | grep '^insmod'; done)
cat >"$initrd/init" <<INIT
#!/bin/busybox sh
b=/bin/busybox
\$b mount -t devtmpfs dev /dev; \$b mount -t proc proc /proc
for m in ${modules[*]}; do \$b insmod /modules/\$m; done
until [ -b /dev/vda ]; do \$b usleep 50000; done
\$b mount -t ext4 -o rw,noatime /dev/vda /newroot || \$b poweroff -f
\$b umount /proc; \$b mount --move /dev /newroot/dev
exec \$b switch_root /newroot /lib/systemd/systemd
INIT
chmod +x "$initrd/init"
(cd "$initrd" && find . | cpio -o -H newc --quiet | gzip -1) >"$work/initrd"

# One unit runs the test once the boot is over.
etc=$root/etc
mkdir -p "$etc/systemd/system/multi-user.target.wants" "$etc/systemd/journald.conf.d"
install -m 755 "$here/agent.sh" "$root/usr/local/bin/vm-agent"
cat >"$etc/systemd/system/vm-agent.service" <<'UNIT'
[Unit]
Description=Runs the test
After=multi-user.target
[Service]
ExecStart=/usr/local/bin/vm-agent
OOMScoreAdjust=-1000
UNIT
ln -s ../vm-agent.service "$etc/systemd/system/multi-user.target.wants/"
echo gateway >"$etc/hostname"
printf '127.0.0.1 localhost gateway\n::1 localhost\n' >"$etc/hosts"
: >"$etc/fstab"
rm -f "$etc/resolv.conf" "$root/usr/sbin/policy-rc.d"
printf '[Journal]\nStorage=persistent\nRateLimitBurst=0\n' >"$etc/systemd/journald.conf.d/vm.conf"
for unit in apt-daily.timer apt-daily-upgrade.timer fstrim.timer e2scrub_all.timer e2scrub_reap.service dpkg-db-backup.timer \
            getty@tty1.service serial-getty@ttyS0.service console-getty.service; do
  ln -sf /dev/null "$etc/systemd/system/$unit"
done
mke2fs -q -t ext4 -O ^has_journal -E lazy_itable_init=1 -d "$root" "$work/disk.ext4" 4G
rm -rf "$work/kernel" "$initrd" "$work/fetch-kernel"
touch "$work/complete"
chmod 755 "$work"
mv -T "$work" "$image"
trap - EXIT
echo "$image" >&3
