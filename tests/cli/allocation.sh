#!/usr/bin/env bash
# mtk serve when memory runs out: each allocation of the start and of a request fails once. See
# test_allocation in server.py.
. "${BASH_SOURCE[0]%/*}/_common.sh"
make_model
python3 "$MTK_SRC/tests/cli/server.py" "$MTK" model - test_allocation
