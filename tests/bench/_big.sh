# shellcheck shell=bash
# _big.sh [LAYERS]: what big_convert.sh and big_quantize.sh share: a model of Mistral Small's shape with LAYERS layers
# (default 9: 12.7 GB of bf16) in $work/hf, and measurements beside `cp`. Sourced.
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
