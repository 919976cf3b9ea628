#!/usr/bin/env bash
# plugin.sh: mtk plugin list, info, check, new: skeletons build and pass their own tests.
set -euo pipefail
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
export MTK_INCLUDE="$MTK_SRC/core/include"

fails() { # fails CODE PATTERN COMMAND...: exit code and one matching line on stderr
  local code="$1" pattern="$2" got=0
  shift 2
  "$@" >"$work/out" 2>"$work/err" || got=$?
  if [ "$got" -ne "$code" ] || ! grep -q -- "$pattern" "$work/err"; then
    echo "FAILED: $*: exit $got, wanted $code with '$pattern'"
    cat "$work/err"
    exit 1
  fi
}

"$MTK" plugin list --json | python3 -c '
import json, sys
names = {p["name"] for p in json.load(sys.stdin)}
assert {"hf", "gguf", "arch-decoder", "quant-weights", "finetune-sft", "serve-openai"} <= names, names'
grep -q 'mtk.format/1 gguf' <("$MTK" plugin info gguf)
fails 1 'no such plugin' "$MTK" plugin info nothing
fails 2 'unknown verb' "$MTK" plugin remove gguf
fails 1 'no such plugin file' "$MTK" plugin check "$work/none.so"
head -c 4096 /dev/urandom >"$work/noise.so"
fails 1 'refused\|invalid ELF' "$MTK" plugin check "$work/noise.so"

fails 2 'lower-case' "$MTK" plugin new 'Bad Name' --dir "$work/x"
for kind in format verifier; do
  "$MTK" plugin new "acme-$kind" --kind "$kind" --dir "$work/$kind" >/dev/null
  make -s -C "$work/$kind" check MTK="$MTK" CFLAGS='-O1 -Wall -Wextra -Werror'
  fails 1 'exists' "$MTK" plugin new "acme-$kind" --kind "$kind" --dir "$work/$kind"
done
echo "plugin.sh: ok"
