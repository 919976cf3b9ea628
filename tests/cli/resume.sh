#!/usr/bin/env bash
# kill -9, Ctrl-C and a full disk in the middle of quantize and convert: --resume goes on behind the
# last complete tensor and ends with the bytes of an uninterrupted run. See resume.py.
. "${BASH_SOURCE[0]%/*}/_common.sh"
make_model
head -n 60 "$MTK_SRC/examples/petit/demo/train.jsonl" | jq -r ".messages[].content" >text.txt
python3 "$MTK_SRC/tests/cli/resume.py" "$MTK" model text.txt
