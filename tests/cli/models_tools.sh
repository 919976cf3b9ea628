#!/usr/bin/env bash
# A real model that calls a tool through mtk serve and mtk run. Qwen2.5-Coder-0.5B-Instruct writes
# its calls as bare JSON, which --tool-parser llama3 reads.
. "${BASH_SOURCE[0]%/*}/_models.sh"
qwen="${XDG_CACHE_HOME:-$HOME/.cache}/mtk/qwen/Qwen2.5-Coder-0.5B-Instruct.Q4_K_M.gguf"
[ -f "$qwen" ] || skip "no $qwen; scripts/fetch-model.sh qwen fetches it"
python3 "$MTK_SRC/tests/cli/models_tools.py" "$MTK" "$qwen" "$tmp"
