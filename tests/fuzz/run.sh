#!/usr/bin/env bash
# usage: run.sh [SECONDS [TARGET...]]   fuzzes each target for so long (60 s), from seeds that lie in the repository.
# libFuzzer over coverage counters that a stable compiler puts in. What it finds lies in .cache/findings; it exits with 1 then.
set -euo pipefail
cd "$(dirname "$0")"
seconds=${1:-60}
shift || true
targets=("$@")
[ ${#targets[@]} -gt 0 ] || targets=(script_upload receipt_leaf tuple_record gguf_header)

export RUSTFLAGS="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
-Cllvm-args=-sanitizer-coverage-trace-compares --cfg fuzzing"
# A target given, so that build scripts and macros go without the counters.
host=$(rustc -vV | sed -n 's/^host: //p')
export CARGO_TARGET_DIR=${STEWARD_FUZZ_TARGET_DIR:-$PWD/target}
cargo build --quiet --release --target "$host"

seeds() {
    case $1 in
    script_upload) find ../../examples ../../scripting -name '*.rhai' ;;
    receipt_leaf) find ../../contracts/receipts -name '*.json' ;;
    *) ;;
    esac
}

status=0
mkdir -p .cache/findings
for target in "${targets[@]}"; do
    mkdir -p ".cache/corpus/$target"
    seeds "$target" | while read -r seed; do cp "$seed" ".cache/corpus/$target/$(sha256sum "$seed" | cut -c1-40)"; done
    echo "== $target, $seconds s"
    "$CARGO_TARGET_DIR/$host/release/$target" -max_total_time="$seconds" -max_len=65536 -timeout=10 -rss_limit_mb=2048 \
        -artifact_prefix=".cache/findings/$target-" -print_final_stats=1 ".cache/corpus/$target" 2>&1 |
        grep -E '^(stat::|==|SUMMARY|thread|INFO: seed)|cov:.*DONE|panicked|Test unit' | tail -20 || true
    ls .cache/findings/"$target"-* >/dev/null 2>&1 && status=1
done
exit $status
