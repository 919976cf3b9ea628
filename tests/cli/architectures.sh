#!/bin/bash
# Every architecture on a small model with pseudo-random weights (tests/golden/arch, _arch.py): log-probabilities
# equal transformers' to f32 rounding; folder -> GGUF -> folder gives the same bytes, for f32 and bf16; the GGUF gives
# the same logits bit for bit; so does every level of instructions, and a prompt fed in chunks.
set -euo pipefail
source "$MTK_SRC/tests/cli/_common.sh"

arch() { python3 "$MTK_SRC/tests/cli/_arch.py" "$@"; }

# The hash over the logits of the first line of ids.
hash_of() { # MODEL IDS [OPTION...]
  local model="$1" ids="$2"
  shift 2
  head -1 "$ids" | "$MTK" eval "$model" --score - --activations a32 --json -q "$@" |
    python3 -c 'import json, sys; print(json.load(sys.stdin)["logits_sha256"])'
}

same_hash() { # WHAT GOT WANT
  [ "$2" = "$3" ] || fail "$1: logits $2, not $3"
}

there_and_back() { # GOLDEN TYPE
  arch make "$1" "hf-$2" "$2"
  "$MTK" convert "hf-$2" "$2.gguf" -q >/dev/null
  "$MTK" convert "$2.gguf" "back-$2" -q >/dev/null
  arch same "hf-$2" "back-$2"
}

check_architecture() { # GOLDEN
  echo "$(basename "$1" .json):"
  rm -rf hf-* back-* ./*.gguf
  there_and_back "$1" f32
  there_and_back "$1" bf16
  arch ids "$1" >ids
  "$MTK" eval hf-f32 --score ids --activations a32 --json -q >scores
  arch check "$1" scores
  local want
  want="$(hash_of hf-f32 ids)"
  same_hash "the GGUF" "$(hash_of f32.gguf ids)" "$want"
  same_hash "chunks of 7" "$(hash_of hf-f32 ids --batch 7)" "$want"
  [ -n "$levels" ] || levels="$(levels_of "$MTK" eval hf-f32 --score ids -q)"
  for level in $levels; do
    same_hash "$level" "$(MTK_CPU=$level hash_of hf-f32 ids)" "$want"
  done
}

levels=""
for golden in "$MTK_SRC"/tests/golden/arch/*.json; do
  check_architecture "$golden"
done
