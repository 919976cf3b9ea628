#!/usr/bin/env bash
# big_quantize.sh [LAYERS]: memory and speed of mtk quantize on a model of Mistral Small's shape with
# LAYERS layers (default 9: 12.7 GB of bf16; needs twice that on the disk), beside `cp` of the same
# bytes (followed by sync, as mtk syncs its outputs). Speeds are bytes of source per second; CPU is
# user and system time of all threads. MTK: the binary; SCRATCH: where; THREADS: 0 = all CPUs.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
mtk="${MTK:-build/release/bin/mtk}"
here=tests/bench
work="$(mktemp -d "${SCRATCH:-${TMPDIR:-/tmp}}/mtk-big-XXXXXX")"
trap 'rm -rf "$work"' EXIT

python3 $here/make_big_model.py "$work/hf" --layers "${1:-9}"
sync
bytes="$(du -sb "$work/hf" | cut -f1)"
lines="$work/lines.jsonl"
measure() { python3 $here/big_convert.py run "$bytes" "$@" >>"$lines"; }
copy() {
  measure "$1" sh -c "cp -r '$work/hf' '$work/copy' && sync"
  rm -rf "$work/copy"
}
quantize() {
  local name="$1"
  shift
  measure "$name" "$mtk" quantize "$work/hf" "$work/out" -t "${THREADS:-0}" -q "$@"
  rm -rf "$work/out"
}

copy "cp (first)"
quantize "nvfp4, without comparison" --to nvfp4 --no-verify
quantize "nvfp4" --to nvfp4
quantize "nvfp4 by sweep, without comparison" --to nvfp4 --method sweep --no-verify
quantize "fp8-block, without comparison" --to fp8-block --no-verify
copy "cp (last)"
python3 $here/big_convert.py table "$lines"
