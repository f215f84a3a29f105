#!/usr/bin/env bash
set -euo pipefail

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
fail() { echo "vulkan: $*" >&2; exit 1; }

# The sources want Vulkan headers newer than Debian 12's, and a compiler that knows what they use of GLSL. Both come from
# this suite and are unpacked beside the build; nothing of it is installed. libc6 and the two after it run that compiler.
suite=trixie
from_suite=(libvulkan-dev spirv-headers glslc libshaderc1 libc6 libgcc-s1 libstdc++6)
# libvulkan1 of this system is what the module is linked against, so that it runs on this system, too.
packages=(build-essential cmake ccache python3 debian-archive-keyring libvulkan1)

crate=llama-cpp-sys-2
target=${CARGO_TARGET_DIR:-target}
for argument; do
  case $argument in
    --help) usage; exit ;;
    --software-driver) packages+=(mesa-vulkan-drivers) ;;
    -*) usage >&2; fail "unknown option $argument" ;;
    *) target=$argument ;;
  esac
done

install_missing() {
  local missing=() sudo=() package
  for package in "${packages[@]}"; do
    dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'install ok installed' || missing+=("$package")
  done
  [ "${#missing[@]}" -eq 0 ] && return
  command -v apt-get >/dev/null || fail "no apt-get here; install by hand: ${missing[*]}"
  if [ "$(id -u)" -ne 0 ]; then sudo=(sudo); fi
  echo "vulkan: installing ${missing[*]}"
  "${sudo[@]}" apt-get update -qq
  DEBIAN_FRONTEND=noninteractive "${sudo[@]}" apt-get install -qq -y --no-install-recommends "${missing[@]}" >/dev/null
}

# Prints version and folder of the crate whose libggml-base the module will join.
find_crate() {
  local host manifest metadata
  host=$(rustc -vV | sed -n 's/^host: //p')
  manifest=$(dirname "$0")/../../Cargo.toml
  metadata=$(cargo metadata --format-version 1 --locked --filter-platform "$host" --manifest-path "$manifest") || return
  python3 -c '
import json, os, sys
for package in json.load(sys.stdin)["packages"]:
    if package["name"] == sys.argv[1]:
        print(package["version"], os.path.dirname(package["manifest_path"]))
' "$crate" <<<"$metadata"
}

# The label tells Debian's own archive from its security archive and from other vendors'.
debian_mirror() {
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

# $1: the crate's folder, $2: root of the suite, $3: build folder. As the crate's build script configures its back ends:
# Release, shared, GGML_BACKEND_DL, not for this CPU only. libggml-base is built along to be linked against, and not kept.
compile() {
  local source=$1 root=$2 build=$3 libvulkan
  libvulkan=/usr/lib/$(dpkg-architecture -q DEB_HOST_MULTIARCH)/libvulkan.so.1
  cmake -S "$source/llama.cpp" -B "$build" -Wno-dev -DCMAKE_BUILD_TYPE=Release -DBUILD_SHARED_LIBS=ON \
    -DGGML_BACKEND_DL=ON -DGGML_VULKAN=ON -DGGML_CPU=OFF -DGGML_NATIVE=OFF -DGGML_OPENMP=OFF \
    -DLLAMA_BUILD_COMMON=OFF -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=OFF -DLLAMA_BUILD_TOOLS=OFF \
    -DLLAMA_BUILD_SERVER=OFF -DLLAMA_BUILD_APP=OFF -DLLAMA_CURL=OFF -DCMAKE_SKIP_RPATH=ON \
    -DCMAKE_C_COMPILER_LAUNCHER=ccache -DCMAKE_CXX_COMPILER_LAUNCHER=ccache -DCMAKE_CXX_FLAGS="-isystem $root/usr/include" \
    -DCMAKE_PREFIX_PATH="$root/usr" -DVulkan_INCLUDE_DIR="$root/usr/include" -DVulkan_LIBRARY="$libvulkan" \
    -DVulkan_GLSLC_EXECUTABLE="$root/glslc" >"$build.log" 2>&1 &&
    cmake --build "$build" --target ggml-vulkan --parallel "${CMAKE_BUILD_PARALLEL_LEVEL:-$(nproc)}" >>"$build.log" 2>&1
}

# $1: the module. What it takes from libggml-base must be there, at the latest when promptd is built.
check() {
  local missing
  readelf -d "$1" | grep 'NEEDED.*\[libggml-base\.so\.0\]' >/dev/null || fail "$1 is not linked to libggml-base.so.0"
  [ -e "$target/release/libggml-base.so.0" ] || return 0
  missing=$(LD_LIBRARY_PATH=$target/release ldd -r "$1" | grep -E 'undefined symbol|not found' || true)
  [ -z "$missing" ] || fail "$1 does not fit $target/release/libggml-base.so.0: $missing"
}

install_missing
found=$(find_crate) || fail "cargo metadata failed"
read -r version source <<<"$found"
[ -n "$version" ] || fail "the project does not depend on $crate"
mkdir -p "$target"
target=$(realpath "$target")
work=$target/vulkan
module=$target/release/backends/vulkan/libggml-vulkan.so
stamp="$crate $version, headers and shader compiler of Debian $suite"
[ -e "$module" ] && [ "$(cat "$work/stamp" 2>/dev/null)" = "$stamp" ] && exit 0

root=$work/$suite
build=$work/build-$version
mkdir -p "$work" "$(dirname "$module")"
[ -d "$root" ] || unpack_suite "$root"
wrap_glslc "$root"
echo "vulkan: building the back end of $crate $version; its shaders take minutes"
compile "$source" "$root" "$build" || { tail -n 30 "$build.log" >&2; fail "the build failed; its log: $build.log"; }
check "$build/bin/libggml-vulkan.so"
# A new file under the old name: a process that has the old one mapped keeps it.
cp "$build/bin/libggml-vulkan.so" "$module.new"
mv "$module.new" "$module"
echo "$stamp" >"$work/stamp"
# Hundreds of megabytes that nobody reads again; ccache keeps what a rebuild can use.
rm -rf "$work"/build-*
echo "vulkan: $module"
