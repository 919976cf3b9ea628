#!/bin/bash
# SmolLM2 quantized by round-to-nearest: perplexity beside llama.cpp's of the same types (all from the shipped
# Q4_1 file), the same bytes for one and two threads, the same logits from GGUF and from the Hugging
# Face folder where both hold the same bytes, bounded memory.
set -euo pipefail
source "$MTK_SRC/tests/cli/_models.sh"
need_smollm2

# quantize SRC DST TYPE OPTION...: leaves the report in $tmp/report.json
quantize() {
  "$MTK" quantize "$1" "$2" --to "$3" --requantize --json -q "${@:4}" >"$tmp/report.json"
  jq -e '.quantized == 210' "$tmp/report.json" >/dev/null || fail "$3: not all 210 linear weights"
}

jq -c 'select(.add_generation_prompt)' "$MTK_SRC/tests/golden/smollm2_chats.jsonl" |
  jq -sc '{ids: (map(.ids) | add | .[:48])}' >"$tmp/ids"
logits() { "$MTK" eval "$1" --score "$tmp/ids" --json -q | jq -r .logits_sha256; }

# From bf16, so that the embedding is the same in both formats. 32 MiB of the maps, the tokenizer and the
# largest tensor's rows: far from the 270 MB of the model.
"$MTK" convert "$smol" "$tmp/bf16.gguf" --dtype bf16 -q >/dev/null
for type in mxfp4 nvfp4 fp8-block; do
  quantize "$tmp/bf16.gguf" "$tmp/two" $type -t 2
  jq -r '"'$type': \(.output_bytes) bytes in \(.seconds) s, peak \(.peak_rss_bytes) bytes"' "$tmp/report.json"
  jq -e '.peak_rss_bytes < 150e6' "$tmp/report.json" >/dev/null || fail "$type: memory grows with the model"
  quantize "$tmp/bf16.gguf" "$tmp/one" $type -t 1
  diff -r "$tmp/one" "$tmp/two" || fail "$type: other bytes with one thread than with two"
  # The layout of nvfp4 holds reciprocals of the scales, so GGUF from it, not GGUF from bf16, has its bytes; GGUF has no
  # fp8: it gets bf16.
  if [ $type = mxfp4 ]; then quantize "$tmp/bf16.gguf" "$tmp/two.gguf" $type -t 2
  else "$MTK" convert "$tmp/two" "$tmp/two.gguf" --force -q >/dev/null 2>"$tmp/err"; fi
  got=$(logits "$tmp/two.gguf")
  [ ${#got} -eq 64 ] || fail "$type: no hash"
  same "$type, logits of GGUF and folder" "$got" "$(logits "$tmp/two")"
  rm -r "$tmp/one" "$tmp/two" "$tmp/two.gguf"
done
rm "$tmp/bf16.gguf"
quantize "$smol" "$tmp/one.gguf" nvfp4 -t 1
quantize "$smol" "$tmp/nvfp4.gguf" nvfp4 -t 2
cmp "$tmp/one.gguf" "$tmp/nvfp4.gguf" || fail "GGUF: other bytes with one thread than with two"

[ -f "${MTK_TEST_DATA:-}/text/wiki.test.raw" ] || skip "perplexities: MTK_TEST_DATA has no text/wiki.test.raw"
while read -r type llama; do
  [ -e "$tmp/$type.gguf" ] || quantize "$smol" "$tmp/$type.gguf" "$type"
  "$MTK" eval "$tmp/$type.gguf" --ppl "$MTK_TEST_DATA/text/wiki.test.raw" --chunks 20 --json -q >"$tmp/ppl.json"
  jq -r "\"$type: perplexity \(.ppl) (llama.cpp $llama) in \(.seconds) s\"" "$tmp/ppl.json"
  jq -e "(.ppl / $llama - 1 | fabs) < 0.02" "$tmp/ppl.json" >/dev/null || fail "$type: off by more than 2 %"
done <<'EOF'
q8_0 28.78
q4_0 35.93
nvfp4 37.08
mxfp4 48.02
EOF
