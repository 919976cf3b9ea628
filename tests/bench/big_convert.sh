#!/usr/bin/env bash
# big_convert.sh [LAYERS]: memory and speed of mtk convert on a model of Mistral Small's shape with
# LAYERS layers (default 9: 12.7 GB of bf16; needs three times that on the disk).
# HF folder -> GGUF -> HF folder, beside `cp` of the same bytes (each followed by sync, as mtk syncs
# its outputs). Own memory is the largest RssAnon of /proc/PID/status: what the process has beyond
# pages of the files it maps, which the kernel may drop at any time. MTK: the binary; SCRATCH: where.
source "$(dirname "${BASH_SOURCE[0]}")/_big.sh"

copy "cp (first)"
measure "HF -> GGUF" "$mtk" convert "$work/hf" "$work/m.gguf" -q
measure "GGUF -> HF" "$mtk" convert "$work/m.gguf" "$work/back" --max-shard-size 5GB -q
python3 $here/big_convert.py same "$work/hf" "$work/back"
rm -rf "$work/back" "$work/m.gguf"
copy "cp (last)"
python3 $here/big_convert.py table "$lines"
