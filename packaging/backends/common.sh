# shellcheck shell=bash
# Sourced by the scripts that build a back end of llama.cpp as a module for promptd: what is the same for each of them.
: "${name:?as the back end is called}"
# What `ldd -r` may miss where there is no GPU: a pattern.
may_miss='^$'
source "$(dirname "${BASH_SOURCE[0]}")/../debian-packages.sh"

crate=llama-cpp-sys-2
target=${CARGO_TARGET_DIR:-target}

fail() { echo "$name: $*" >&2; exit 1; }

# Prints version and folder of the crate whose libggml-base the module will join.
find_crate() {
  local host manifest metadata
  host=$(rustc -vV | sed -n 's/^host: //p')
  manifest=$(dirname "${BASH_SOURCE[0]}")/../../Cargo.toml
  metadata=$(cargo metadata --format-version 1 --locked --filter-platform "$host" --manifest-path "$manifest") || return
  python3 -c '
import json, os, sys
for package in json.load(sys.stdin)["packages"]:
    if package["name"] == sys.argv[1]:
        print(package["version"], os.path.dirname(package["manifest_path"]))
' "$crate" <<<"$metadata"
}

# $1: what else the module depends on. Sets the folders, and exits when the module is there and as it should be.
set_up() {
  local found
  found=$(find_crate) || fail "cargo metadata failed"
  read -r version source <<<"$found"
  [ -n "$version" ] || fail "the project does not depend on $crate"
  mkdir -p "$target"
  target=$(realpath "$target")
  work=$target/$name
  module=$target/release/backends/$name/libggml-$name.so
  stamp="$crate $version, $1"
  if [ -e "$module" ] && [ "$(cat "$work/stamp" 2>/dev/null)" = "$stamp" ]; then exit; fi
  build=$work/build-$version
  mkdir -p "$work" "$(dirname "$module")"
}

# Further options for cmake. As the crate's build script configures its back ends: Release, shared, GGML_BACKEND_DL, not for
# this CPU only. libggml-base is built along to be linked against, and not kept.
configure() {
  cmake -S "$source/llama.cpp" -B "$build" -Wno-dev -DCMAKE_BUILD_TYPE=Release -DBUILD_SHARED_LIBS=ON \
    -DGGML_BACKEND_DL=ON -DGGML_CPU=OFF -DGGML_NATIVE=OFF -DGGML_OPENMP=OFF \
    -DLLAMA_BUILD_COMMON=OFF -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=OFF -DLLAMA_BUILD_TOOLS=OFF \
    -DLLAMA_BUILD_SERVER=OFF -DLLAMA_BUILD_APP=OFF -DLLAMA_CURL=OFF -DCMAKE_SKIP_RPATH=ON \
    -DCMAKE_C_COMPILER_LAUNCHER=ccache -DCMAKE_CXX_COMPILER_LAUNCHER=ccache "$@"
}

# Further options for cmake. Leaves the module where promptd looks for it.
build_module() {
  {
    configure "$@" &&
      cmake --build "$build" --target "ggml-$name" --parallel "${CMAKE_BUILD_PARALLEL_LEVEL:-$(nproc)}"
  } >"$build.log" 2>&1 || { tail -n 30 "$build.log" >&2; fail "the build failed; its log: $build.log"; }
  check "$build/bin/libggml-$name.so"
  # A new file under the old name: a process that has the old one mapped keeps it.
  cp "$build/bin/libggml-$name.so" "$module.new"
  mv "$module.new" "$module"
  echo "$stamp" >"$work/stamp"
  # Hundreds of megabytes that nobody reads again; ccache keeps what a rebuild can use.
  rm -rf "$work"/build-*
  echo "$name: $module"
}

# $1: the module. What it takes from libggml-base must be there, at the latest when promptd is built.
check() {
  local missing
  readelf -d "$1" | grep 'NEEDED.*\[libggml-base\.so\.0\]' >/dev/null || fail "$1 is not linked to libggml-base.so.0"
  [ -e "$target/release/libggml-base.so.0" ] || return 0
  missing=$(LD_LIBRARY_PATH=$target/release${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH} ldd -r "$1" | grep -E 'undefined symbol|not found' | grep -vE "$may_miss" || true)
  [ -z "$missing" ] || fail "$1 does not fit $target/release/libggml-base.so.0: $missing"
}
