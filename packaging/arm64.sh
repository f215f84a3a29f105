#!/usr/bin/env bash
set -euo pipefail

usage() {
  cat <<'TEXT'
usage: packaging/arm64.sh [TARGET]

Builds the Debian package promptd for arm64 on an amd64 machine with Debian 12, into TARGET/arm64/deb, and starts it under QEMU.
TARGET is cargo's target folder (CARGO_TARGET_DIR, else ./target); what is built here has a folder of its own in it. The first time
it takes half an hour of two cores, because llama.cpp is compiled for each generation of ARM processors.

Debian's own Rust for arm64 is unpacked beside the build; nothing of it is installed. Compilers and QEMU are installed if they are
missing. GPU back ends are not built: they are built on a machine of their kind (packaging/backends).

DEB_BUILD_OPTIONS: parallel=N, the number of jobs (default: one for each core)

What is tested: the package is built to its end, lintian has no objection, and the program starts under QEMU. It has not run on a
board.
TEXT
}
fail() { echo "arm64: $*" >&2; exit 1; }

case ${1:-} in
  --help) usage; exit ;;
  -*) usage >&2; fail "unknown option $1" ;;
esac
target=${1:-${CARGO_TARGET_DIR:-target}}
mkdir -p "$target"
work=$(realpath "$target")/arm64
cd "$(dirname "$0")/.."
source packaging/debian-packages.sh
[ "$(dpkg --print-architecture)" = amd64 ] || fail "this builds on amd64; on arm64 itself \`make deb\` does"

triple=aarch64-unknown-linux-gnu
rust=$work/rust
libraries=$rust/usr/lib/x86_64-linux-gnu
# rustc-web is Debian's newer Rust; its standard library for arm64 is all that is not for this machine.
rust_packages=(rustc-web:amd64 libstd-rust-web-1.96:amd64 libstd-rust-web-dev:amd64 libllvm22:amd64 libstd-rust-web-dev:arm64)
# What the package links against. Their symbols tell from which version on they will do.
linked=$work/linked
linked_packages=(libc6:arm64 libgcc-s1:arm64 libstdc++6:arm64 libgomp1:arm64)

# A private state of apt that knows both architectures: the system's own stays as it is.
fetch() {
  local apt=$work/apt
  rm -rf "$apt"
  mkdir -p "$apt/lists/partial" "$apt/archives/partial" "$apt/packages"
  local options=(-qq -o APT::Architecture=amd64 -o "APT::Architectures=amd64,arm64" -o Acquire::Languages=none
    -o Dir::State="$apt" -o Dir::State::status=/dev/null -o Dir::Cache="$apt" -o APT::Sandbox::User=)
  echo "arm64: fetching $*"
  apt-get "${options[@]}" update
  (cd "$apt/packages" && apt-get "${options[@]}" download "$@")
}

unpack_rust() {
  local package
  fetch "${rust_packages[@]}"
  rm -rf "$rust.new"
  mkdir "$rust.new"
  for package in "$work"/apt/packages/*.deb; do dpkg -x "$package" "$rust.new"; done
  mv "$rust.new" "$rust"
  rm -rf "$work/apt"
}

unpack_linked() {
  local package
  fetch "${linked_packages[@]}"
  rm -rf "$linked.new"
  mkdir "$linked.new"
  for package in "$work"/apt/packages/*.deb; do dpkg-deb -R "$package" "$linked.new/$(basename "${package%%_*}")"; done
  mv "$linked.new" "$linked"
  rm -rf "$work/apt"
}

# $1: file, $2: content. A new file only if it is another one: what was built with it stays.
script() {
  [ "$(cat "$1" 2>/dev/null)" = "$2" ] && return
  echo "$2" >"$1"
  chmod +x "$1"
}

install_missing arm64 build-essential cmake clang libclang-dev ccache python3 debhelper chrpath lintian \
  gcc-aarch64-linux-gnu g++-aarch64-linux-gnu qemu-user-static
mkdir -p "$work/deb"
[ -d "$rust" ] || unpack_rust
[ -d "$linked" ] || unpack_linked
# Rust finds the rest by where it is itself.
# shellcheck disable=SC2016  # For the shell that runs it.
script "$work/rustc" '#!/bin/sh
LD_LIBRARY_PATH="'"$libraries"'${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}" exec "'"$rust"'/usr/bin/rustc" "$@"'
"$work/rustc" --version >/dev/null || fail "Debian's Rust does not run here"

export CARGO_TARGET_DIR=$work/target RUSTC=$work/rustc CARGO_BUILD_TARGET=$triple
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc
export BINDGEN_EXTRA_CLANG_ARGS_aarch64_unknown_linux_gnu=-I/usr/aarch64-linux-gnu/include
export DEB_FOLDER=$work/deb DEB_BUILD_PROFILES="cross nocheck pkg.promptd.novulkan" DEB_BUILD_OPTIONS="nocheck ${DEB_BUILD_OPTIONS:-}"
SHLIBDEPS=$(printf -- '-S%s ' "$linked"/*)
export SHLIBDEPS
rm -f "$DEB_FOLDER"/*
changes=$DEB_FOLDER/promptd.changes
log=$DEB_FOLDER/build.log
echo "arm64: building; the log is $log"
dpkg-buildpackage --host-arch arm64 --build=binary --no-sign --no-check-builddeps \
  --buildinfo-file="$DEB_FOLDER/promptd.buildinfo" --buildinfo-option=-u"$DEB_FOLDER" \
  --changes-file="$changes" --changes-option=-u"$DEB_FOLDER" >"$log" 2>&1 || { tail -n 40 "$log" >&2; fail "the build failed"; }
debian/rules clean >/dev/null
lintian --allow-root --fail-on error,warning "$changes"

# Unpacked, it must start as it is: with its libraries and its back ends.
rm -rf "$work/root"
dpkg-deb -x "$(echo "$DEB_FOLDER"/promptd_*_arm64.deb)" "$work/root"
qemu-aarch64-static -L /usr/aarch64-linux-gnu "$work/root/usr/bin/promptd" --version
ls -l "$DEB_FOLDER"/*.deb
