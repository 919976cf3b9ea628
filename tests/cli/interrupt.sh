#!/usr/bin/env bash
# Ctrl-C and closed pipes in the middle of work: a clean stop with exit code 130 (143 for SIGTERM),
# nothing half-written, training resumable. Details in interrupt.py.
. "${BASH_SOURCE[0]%/*}/_common.sh"
make_model
make_data train.jsonl 20
python3 "$MTK_SRC/tests/cli/interrupt.py" "$MTK" model train.jsonl
