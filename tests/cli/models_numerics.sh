#!/bin/bash
# One numerics with real models: the hash over all logits is the same for every level of instructions, one
# and two threads, and a prompt fed whole or in chunks of 1, 7 and 64; for the models as they are and quantized.
# (Alone or among 7 other sequences: tests/unit/test_engine_models.c.)
set -euo pipefail
source "$MTK_SRC/tests/cli/_models.sh"
need_data models/stories260K-hf

# score MODEL IDS LEVEL THREADS BATCH
score() {
  MTK_CPU=$3 "$MTK" eval "$1" --score "$2" --json -q -t "$4" --batch "$5" | jq -r .logits_sha256
}

# all_same NAME MODEL IDS "LEVEL THREADS BATCH"...: the first one is what the others must equal
all_same() {
  local name="$1" model="$2" ids="$3" want="" got run level threads batch
  shift 3
  for run in "$@"; do
    read -r level threads batch <<<"$run"
    case " $levels " in *" $level "*) ;; *) continue ;; esac
    got=$(score "$model" "$ids" "$level" "$threads" "$batch")
    [ ${#got} -eq 64 ] || fail "$name: no hash"
    same "$name, logits with level, threads, chunk = $run" "$got" "${want:=$got}"
  done
  echo "$name: $want"
}

# The levels that this machine has; one that it lacks is refused by mtk.
echo '{"ids":[1,2]}' >"$tmp/two.ids"
levels="$(levels_of "$MTK" eval "$data/models/stories260K-hf" --score "$tmp/two.ids" -q) "

every=()
for level in $levels; do
  for threads in 1 2; do
    for batch in 512 64 7 1; do every+=("$level $threads $batch"); done
  done
done
few=("ref 2 512" "avx2 2 7" "avx2 1 64" "avx512 1 1" "avx512 2 64" "avx512 2 512" "amx 1 7" "amx 2 512")

echo '{"ids":[1,403,407,261,378,432,383,286,261,376,298,315,421,395,317,426,338,401,396,267,337,410,408,419,
292,411,322,265,282,295,433,426,385,328,432,358,394,261,370,432,352,266,268,388,426,338,391,266,267,337,
335,312,432,398,312,286,267,414,270,333,415,426,13,438,310,439,419,357,336,432,313,438,310,432,278,316]}' |
  tr -d '\n' >"$tmp/stories.ids"
model="$data/models/stories260K-hf"
all_same "stories260K" "$model" "$tmp/stories.ids" "${every[@]}"
for type in nvfp4 q8_0 fp8; do
  "$MTK" quantize "$model" "$tmp/$type" --to $type --layout "$([ $type = q8_0 ] && echo gguf || echo hf)" -q >/dev/null
  all_same "stories260K $type" "$tmp/$type" "$tmp/stories.ids" "${few[@]}"
done

need_smollm2
jq -c 'select(.add_generation_prompt)' "$MTK_SRC/tests/golden/smollm2_chats.jsonl" |
  jq -sc '{ids: (map(.ids) | add | .[:66])}' >"$tmp/smol.ids"
all_same "SmolLM2" "$smol" "$tmp/smol.ids" "${few[@]}" "avx2 2 512" "avx512 2 7" "amx 2 64"
for type in nvfp4 q8_0 fp8; do
  "$MTK" quantize "$smol" "$tmp/smol-$type" --requantize --to $type \
    --layout "$([ $type = q8_0 ] && echo gguf || echo hf)" -q >/dev/null
  all_same "SmolLM2 $type" "$tmp/smol-$type" "$tmp/smol.ids" "ref 2 512" "avx2 1 7" "avx512 2 512" "avx512 1 64" \
    "amx 2 512" "amx 1 64"
  rm -r "$tmp/smol-$type"
done
