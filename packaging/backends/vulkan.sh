#!/usr/bin/env bash
set -euo pipefail
name=vulkan
source "$(dirname "$0")/common.sh"

usage() {
  cat <<'TEXT'
usage: packaging/backends/vulkan.sh [--software-driver] [TARGET]

Builds llama.cpp's Vulkan back end as a module for promptd, on Debian 12 or newer:
TARGET/release/backends/vulkan/libggml-vulkan.so. TARGET is cargo's target folder (CARGO_TARGET_DIR, else ./target).
Returns at once when the module is there and of the llama.cpp that Cargo.lock names.

  --software-driver  also install Mesa's drivers, of which lavapipe runs Vulkan on the CPU; only tests need them

CMAKE_BUILD_PARALLEL_LEVEL: number of jobs (default: one for each core)
DEBIAN_MIRROR: address of a Debian mirror (default: the one that apt uses)
TEXT
}

# The sources want Vulkan headers newer than Debian 12's, and a compiler that knows what they use of GLSL. Both come from
# this suite and are unpacked beside the build; nothing of it is installed. libc6 and the two after it run that compiler.
suite=trixie
from_suite=(libvulkan-dev spirv-headers glslc libshaderc1 libc6 libgcc-s1 libstdc++6)
# libvulkan1 of this system is what the module is linked against, so that it runs on this system, too.
packages=(build-essential cmake ccache python3 debian-archive-keyring libvulkan1)

for argument; do
  case $argument in
    --help) usage; exit ;;
    --software-driver) packages+=(mesa-vulkan-drivers) ;;
    -*) usage >&2; fail "unknown option $argument" ;;
    *) target=$argument ;;
  esac
done

# The label tells Debian's own archive from its security archive and from other vendors'.
debian_mirror() {
  # shellcheck disable=SC2016  # For apt-get and awk.
  apt-get indextargets --format '$(LABEL) $(SITE)' 'Created-By: Packages' | awk '$1 == "Debian" && !found++ { print $2 }'
}

# $1: where to unpack. A private state of apt: the system's own lists and sources stay as they are.
unpack_suite() {
  local root=$1 apt=$work/apt mirror package
  mirror=${DEBIAN_MIRROR:-$(debian_mirror)}
  [ -n "$mirror" ] || fail "apt knows no Debian mirror (is apt-get update missing?); name one in DEBIAN_MIRROR"
  rm -rf "$apt" "$root" "$root.new"
  mkdir -p "$apt/lists/partial" "$apt/archives/partial" "$apt/packages" "$root.new"
  echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror $suite main" >"$apt/sources.list"
  local options=(-qq -o Dir::Etc::sourcelist="$apt/sources.list" -o Dir::Etc::sourceparts=- -o Acquire::Languages=none
    -o Dir::State="$apt" -o Dir::State::status=/dev/null -o Dir::Cache="$apt" -o APT::Sandbox::User=)
  echo "vulkan: fetching headers and the shader compiler of Debian $suite"
  apt-get "${options[@]}" update
  (cd "$apt/packages" && apt-get "${options[@]}" download "${from_suite[@]}")
  for package in "$apt"/packages/*.deb; do dpkg -x "$package" "$root.new"; done
  mv "$root.new" "$root"
  rm -rf "$apt"
}

# $1: root of the suite. The compiler runs with the loader and the C library that came with it.
wrap_glslc() {
  local root=$1 libraries loader
  libraries=$root/usr/lib/$(dpkg-architecture -q DEB_HOST_MULTIARCH)
  loader=$(echo "$libraries"/ld-linux-*.so.*)
  printf '#!/bin/sh\nexec "%s" --library-path "%s" "%s" "$@"\n' "$loader" "$libraries" "$root/usr/bin/glslc" >"$root/glslc"
  chmod +x "$root/glslc"
  "$root/glslc" --version >/dev/null || fail "the shader compiler of Debian $suite does not run here"
}

install_missing "$name" "${packages[@]}"
set_up "headers and shader compiler of Debian $suite"
root=$work/$suite
[ -d "$root" ] || unpack_suite "$root"
wrap_glslc "$root"
echo "vulkan: building the back end of $crate $version; its shaders take minutes"
build_module -DGGML_VULKAN=ON -DCMAKE_CXX_FLAGS="-isystem $root/usr/include" -DCMAKE_PREFIX_PATH="$root/usr" \
  -DVulkan_INCLUDE_DIR="$root/usr/include" -DVulkan_LIBRARY="/usr/lib/$(dpkg-architecture -q DEB_HOST_MULTIARCH)/libvulkan.so.1" \
  -DVulkan_GLSLC_EXECUTABLE="$root/glslc"
