#!/usr/bin/env bash
set -euo pipefail
name=cuda
source "$(dirname "$0")/common.sh"

usage() {
  cat <<'TEXT'
usage: packaging/backends/cuda.sh [--architectures LIST] [TARGET]

Builds llama.cpp's CUDA back end as a module for promptd: TARGET/release/backends/cuda/libggml-cuda.so. TARGET is cargo's target
folder (CARGO_TARGET_DIR, else ./target). Returns at once when the module is there, of the llama.cpp that Cargo.lock names and for
the same GPUs.

  --architectures LIST  compute capabilities as CMake writes them, such as "86" or "80-real;90". Default: 87 on a Jetson (Orin,
                        JetPack 6); else those of 75 (Turing), 80 and 86 (Ampere), 89 (Ada), 90 (Hopper), 100 and 120 (Blackwell)
                        that the toolkit knows, and what later GPUs translate for themselves

Needs NVIDIA's CUDA toolkit 12.0 or newer, which it does not install: Debian 12 has none in main, and JetPack brings its own (apt
install cuda-toolkit). nvcc is taken from CUDACXX, the path, or /usr/local/cuda. A GPU is not needed to build. The module uses
libcudart and libcublas of the toolkit's major version, and libcuda of the driver, where it runs. Half an hour to hours, some
gigabytes of memory for each job.

As a package: `dpkg-buildpackage --build=binary --no-sign --build-profiles=pkg.promptd.cuda`, or
DEB_BUILD_PROFILES=pkg.promptd.cuda make deb. CUDA_ARCHITECTURES: as --architectures, for that.

CMAKE_BUILD_PARALLEL_LEVEL: number of jobs (default: one for each core)

State: configured, and some of its kernels compiled, with toolkit 13.0 on amd64. The whole module was not built, and it has not run
on a GPU or a Jetson.
TEXT
}

architectures=${CUDA_ARCHITECTURES:-}
while [ $# -gt 0 ]; do
  case $1 in
    --help) usage; exit ;;
    --architectures) [ $# -ge 2 ] || fail "--architectures needs a value"; architectures=$2; shift ;;
    -*) usage >&2; fail "unknown option $1" ;;
    *) target=$1 ;;
  esac
  shift
done

find_nvcc() {
  local candidate
  for candidate in "${CUDACXX:-}" "$(command -v nvcc || true)" /usr/local/cuda/bin/nvcc; do
    if [ -n "$candidate" ] && [ -x "$candidate" ]; then realpath "$candidate"; return; fi
  done
  fail "there is no nvcc: install NVIDIA's CUDA toolkit, or name its nvcc in CUDACXX"
}

is_jetson() { grep -qs 'nvidia,tegra' /proc/device-tree/compatible || [ -e /etc/nv_tegra_release ]; }

# Machine code for each, and for the last one also what later GPUs can translate.
default_architectures() {
  local known architecture chosen=()
  if is_jetson; then echo 87; return; fi
  known=$("$nvcc" --list-gpu-arch) || fail "$nvcc does not run"
  for architecture in 75 80 86 89 90 100 120; do
    if grep -qx "compute_$architecture" <<<"$known"; then chosen+=("$architecture"); fi
  done
  [ "${#chosen[@]}" -gt 0 ] || fail "$nvcc knows no GPU that this script does; name some with --architectures"
  chosen=("${chosen[@]/%/-real}")
  chosen[-1]=${chosen[-1]%-real}
  (IFS=';'; echo "${chosen[*]}")
}

install_missing "$name" build-essential cmake ccache python3
nvcc=$(find_nvcc)
release=$("$nvcc" --version | sed -n 's/.*release \([0-9.]*\).*/\1/p')
[[ ${release%%.*} =~ ^[0-9]+$ ]] || fail "$nvcc does not tell its version"
[ "${release%%.*}" -ge 12 ] || fail "$nvcc is of CUDA $release; 12.0 or newer is needed"
architectures=${architectures:-$(default_architectures)}
[[ $architectures =~ ^[0-9]+[af]?(-real|-virtual)?(\;[0-9]+[af]?(-real|-virtual)?)*$ ]] \
  || fail "\"$architectures\" is no list of compute capabilities such as \"86\" or \"80-real;90\""
set_up "CUDA $release for $architectures"
# The driver's own library, which a machine without a GPU does not have.
may_miss='libcuda\.so\.1|undefined symbol: cu[A-Z]'
echo "cuda: building the back end of $crate $version with CUDA $release for $architectures; it takes long"
# Without NCCL, which joins several GPUs and would be one more library to have.
build_module -DGGML_CUDA=ON -DGGML_CUDA_NCCL=OFF -DCMAKE_CUDA_COMPILER="$nvcc" -DCMAKE_CUDA_ARCHITECTURES="$architectures" \
  -DCUDAToolkit_ROOT="$(dirname "$(dirname "$nvcc")")" -DCMAKE_CUDA_COMPILER_LAUNCHER=ccache
