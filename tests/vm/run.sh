#!/usr/bin/env bash
# Installs the packages that `make deb` has built on real, booted Debian machines, and proves there what only a booted systemd
# can prove. Needs root. $1: cargo's target folder, $2: the test model (Q4_1); further arguments name the tests to run.
set -euo pipefail
cd "$(dirname "$0")/../.."
target=$(realpath "$1") model=$2
shift 2
tests=("$@")
[ "$#" -gt 0 ] || tests=(gateway fleet cpu-sse42 cpu-sandybridge limits)
[ "$(id -u)" -eq 0 ] || { echo "vm: needs root, to boot a machine" >&2; exit 1; }

source packaging/debian-packages.sh
install_missing vm mmdebstrap e2fsprogs cpio busybox-static kmod xz-utils qemu-system-x86 systemd-container reprepro gnupg

inputs=$(mktemp -d "$target/vm-inputs.XXXXXX")
trap 'rm -rf "$inputs"' EXIT
deb=$(ls "$target"/deb/promptd_*.deb)
image=$(tests/vm/image.sh "$target/vm")
cp "$model" "$inputs/model.gguf"

# The fleet's own repository, signed with a key for this test, as it will lie in the guest.
publish() {
  local key
  export GNUPGHOME=$inputs/gnupg
  mkdir -m 0700 "$GNUPGHOME"
  gpg --batch --quiet --passphrase '' --quick-generate-key 'fleet <fleet@example.org>' ed25519 sign 1d 2>/dev/null
  key=$(gpg --batch --quiet --with-colons --list-secret-keys | awk -F: '$1 == "fpr" { print $10; exit }')
  packaging/apt/publish.sh --key "$key" --url file:///srv/apt "$inputs/repository" "$deb"
  gpgconf --kill all
  tar -C "$inputs/repository" -cf "$inputs/repository.tar" .
  tar -cf "$inputs/packaging.tar" packaging/fleet.sh packaging/mosquitto
}

# boot NAME WAY SECONDS SCRIPT FILE…
boot() {
  local name=$1 way=$2 seconds=$3 script=$4
  shift 4
  echo "vm: $name"
  tests/vm/boot.sh "$way" "$image" "$target/vm-out/$name" "$seconds" "tests/vm/$script" "$deb" "$@" \
    || { echo "vm: $name failed; see $target/vm-out/$name" >&2; exit 1; }
}

for test in "${tests[@]}"; do
  case $test in
    gateway) boot "$test" nspawn 900 gateway.sh "$inputs/model.gguf" ;;
    fleet)
      publish
      boot "$test" nspawn 900 fleet.sh "$inputs"/{repository.tar,packaging.tar,model.gguf} /bin/busybox ;;
    cpu-sse42) echo sse42 >"$inputs/backend"; boot "$test" qemu:Nehalem 900 cpu.sh "$inputs/model.gguf" "$inputs/backend" ;;
    cpu-sandybridge)
      echo sandybridge >"$inputs/backend"
      boot "$test" qemu:SandyBridge 900 cpu.sh "$inputs/model.gguf" "$inputs/backend" ;;
    limits)
      for precision in f16 int8; do
        "$target/release/promptd" quantize "$model" "$inputs/$precision.gguf" --to "$precision" --requantize --force
      done
      cp "$model" "$inputs/int4.gguf"
      boot "$test" qemu 1200 limits.sh "$inputs"/{f16,int8,int4}.gguf ;;
    *) echo "vm: no test is called $test" >&2; exit 2 ;;
  esac
done
