#!/usr/bin/env bash
# kill -9 in the middle of convert, quantize and finetune: no half file bears a final name, and
# running again (finetune: --resume) ends with the bytes of an uninterrupted run. See kill.py.
. "${BASH_SOURCE[0]%/*}/_common.sh"
make_model
make_data train.jsonl 20
python3 "$MTK_SRC/tests/cli/kill.py" "$MTK" model train.jsonl
