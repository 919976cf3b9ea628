#!/usr/bin/env bash
# The official `openai` Python client against mtk serve: chat, stream, stop, seed, logprobs, errors,
# 32 streams at once. MTK_PYTHON names a Python that can import it (.ci/run makes one).
. "${BASH_SOURCE[0]%/*}/_common.sh"
python="${MTK_PYTHON:-python3}"
"$python" -c 'import openai' 2>/dev/null ||
  skip "$python cannot import openai; set MTK_PYTHON to one where 'pip install openai' was done"
make_model
"$python" "$MTK_SRC/tests/cli/openai_client.py" "$MTK" model
