#!/usr/bin/env bash
# Feeds mutated files to what reads what comes from outside: fuzz.sh TARGET_FOLDER RUNS. So many requests, and a tenth of it model files.
# Without a sanitizer, which needs a nightly compiler: overflows and failed assertions are found, and memory and time are bounded.
set -euo pipefail
target=$1 runs=$2
fuzz=tests/fuzz
build=(--fuzz-dir "$fuzz" --sanitizer none --codegen-units 16 --target-dir "$target/fuzz")
# Of one input: seconds, and MiB of the process.
bounds=(-timeout=10 -rss_limit_mb=1024)

feed() {
  local name=$1 count=$2 longest=$3
  local corpus=$target/fuzz/corpus/$name dictionary=$fuzz/seeds/$name.dict
  mkdir -p "$corpus" "$fuzz/artifacts/$name"
  local options=("${bounds[@]}" "-runs=$count" "-max_len=$longest" -print_final_stats=1)
  if [[ -f $dictionary ]]; then options+=("-dict=$dictionary"); fi
  echo "fuzz: $count times $name"
  if ! cargo fuzz run "${build[@]}" "$name" "$corpus" "$fuzz/seeds/$name" -- "${options[@]}" 2>"$target/fuzz/$name.log"; then
    tail -n 60 "$target/fuzz/$name.log"
    exit 1
  fi
  grep -E '^(#[0-9]+.DONE|stat::(number_of|average|peak))' "$target/fuzz/$name.log"
}

mkdir -p "$target/fuzz"
cargo fuzz build "${build[@]}"
feed request "$runs" 4096
feed gguf "$((runs / 10))" 65536
