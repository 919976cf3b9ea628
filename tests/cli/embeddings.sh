#!/usr/bin/env bash
# mtk embed: the vectors of transformers (MiniLM, if it is in the cache; a small Nomic BERT with
# pseudo-random weights); the same bits from the GGUF, alone and together, at every level.
. "${BASH_SOURCE[0]%/*}/_common.sh"
golden="$MTK_SRC/tests/golden"
e() { python3 "$MTK_SRC/tests/cli/_embeddings.py" "$@"; }
embed() { "$MTK" embed "$@" --json -q; } # without arguments behind the model: JSON lines of stdin

first() { head -1 "$2" | embed "$1"; }
levels=""
# The same vectors whatever else is computed with them.
same_bits() { # MODEL FILE_OF_JSON_LINES
  embed "$1" <"$2" >together
  embed "$1" --threads 2 --batch 700 <"$2" | cmp - together || fail "$1: threads or batch change bits"
  local n=0
  while IFS= read -r line; do
    printf '%s\n' "$line" | embed "$1" | sed 's/"index":0/"index":'"$n"'/'
    n=$((n + 1))
  done <"$2" >alone
  cmp alone together || fail "$1: what is computed beside a text changes its vector"
  [ -n "$levels" ] || levels="$(levels_of first "$1" "$2")"
  for level in $levels; do
    MTK_CPU=$level embed "$1" <"$2" | cmp - together || fail "$1: $level differs"
  done
}

both_formats() { # FOLDER LINES
  embed "$1" <"$2" >scores
  "$MTK" convert "$1" model.gguf --force -q >/dev/null
  embed model.gguf <"$2" | cmp - scores || fail "the GGUF of $1 gives other bits"
  "$MTK" convert model.gguf back --force -q >/dev/null
  embed back <"$2" | cmp - scores || fail "$1 comes back from GGUF with other bits"
  same_bits "$1" "$2"
}

echo "nomic-bert:"
python3 "$MTK_SRC/tests/cli/_arch.py" make "$golden/nomic_bert.json" nomic
e texts "$golden/nomic_bert.json" >ids
both_formats nomic ids
e check "$golden/nomic_bert.json" scores
python3 "$MTK_SRC/tests/cli/_arch.py" same nomic back
refuses 1 "embeddings, not text" "$MTK" run nomic --ids 1,2,3 -n 1
seq -s, 1 200 | sed 's/.*/{"ids":[&]}/' >long
run_quiet 1 "$MTK" embed nomic --file nowhere
"$MTK" embed nomic <long >out 2>err && fail "more tokens than the context holds"
grep -q "200 tokens" err || fail "no reason given: $(cat err)"

make_model # a decoder: the last token's state
"$MTK" embed model "one text" "another one" --json -q >decoder
[ "$(wc -l <decoder)" -eq 2 ] || fail "two texts, two lines"
"$MTK" embed model "one text" "another one" --batch 2 --json -q | cmp - decoder ||
  fail "a decoder's vectors depend on the chunks"
"$MTK" embed model "one text" --pooling mean --json -q >mean
"$MTK" embed model "one text" --pooling mean --batch 3 --json -q | cmp - mean || fail "mean by chunks"

python3 "$MTK_SRC/tests/cli/embeddings_server.py" "$MTK" model --embeddings
minilm="${XDG_CACHE_HOME:-$HOME/.cache}/mtk/minilm/all-MiniLM-L6-v2"
if [ ! -d "$minilm" ]; then
  echo "SKIP MiniLM: no $minilm; scripts/fetch-model.sh minilm fetches it"
  exit 0
fi
echo "all-MiniLM-L6-v2:"
e texts "$golden/embeddings.json" >texts
"$MTK" embed "$minilm" --json <texts 2>err >scores
e check "$golden/embeddings.json" scores
e order scores
[ "$(grep -c "is cut to 256" err)" -eq 2 ] || fail "no warning for texts that were cut: $(cat err)"
python="${MTK_PYTHON:-python3}"
"$python" "$MTK_SRC/tests/cli/embeddings_server.py" "$MTK" "$minilm"
head -12 texts >some
both_formats "$minilm" some
