#!/usr/bin/env bash
# usage: run.sh [SECONDS [TARGET...]]   fuzzes each target for so long (60 s), from seeds that lie in the repository.
# libFuzzer over coverage counters that a stable compiler puts in. What it finds lies in .cache/findings, what it says in
# .cache/TARGET.log. It exits with 1 when a target found something, did not start, or ran nothing.
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
cargo build --quiet --locked --release --target "$host"

# What a target says of itself at the end, by the name of the figure.
figure() { sed -n "s/^stat::$2: *//p" ".cache/$1.log"; }

status=0
TIMEFORMAT='%U'
mkdir -p .cache/findings
for target in "${targets[@]}"; do
    python3 seeds.py "$target" ".cache/corpus/$target"
    ended=0
    { time "$CARGO_TARGET_DIR/$host/release/$target" -max_total_time="$seconds" -max_len=65536 -timeout=10 \
        -rss_limit_mb=2048 -artifact_prefix=".cache/findings/$target-" -print_final_stats=1 ".cache/corpus/$target" \
        >".cache/$target.log" 2>&1; } 2>".cache/$target.time" || ended=$?
    ran=$(figure "$target" number_of_executed_units)
    covered=$(sed -n 's/.*cov: \([0-9]*\).*/\1/p' ".cache/$target.log" | tail -1)
    echo "$target: ${ran:-0} executions in $(tail -1 ".cache/$target.time") s of processor time, coverage ${covered:-0}, exit code $ended"
    if [ "$ended" -ne 0 ] || [ "${ran:-0}" -eq 0 ]; then
        tail -20 ".cache/$target.log"
        status=1
    fi
done
exit $status
