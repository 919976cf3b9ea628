#!/usr/bin/env bash
# big_quantize.sh [LAYERS]: memory and speed of mtk quantize on a model of Mistral Small's shape with
# LAYERS layers (default 9: 12.7 GB of bf16; needs twice that on the disk), beside `cp` of the same
# bytes (followed by sync, as mtk syncs its outputs). Speeds are bytes of source per second; CPU is
# user and system time of all threads. MTK: the binary; SCRATCH: where; THREADS: 0 = all CPUs.
source "$(dirname "${BASH_SOURCE[0]}")/_big.sh"

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
