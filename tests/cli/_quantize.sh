# shellcheck shell=bash
# tests/cli/_quantize.sh: what the tests of mtk quantize on the bundled model share. Sourced.
source "$MTK_SRC/tests/cli/_models.sh"
petit="$MTK_SRC/examples/petit/model"
train="$MTK_SRC/examples/petit/demo/train.jsonl"
jq -r '.messages[].content' "$MTK_SRC/examples/petit/demo/eval.jsonl" | head -c 12000 >"$tmp/text"
jq -r '.messages[].content' "$train" | head -c 40000 >"$tmp/calibration.txt"
calibrated=(--calibration "$tmp/calibration.txt" --calibration-tokens 1024 --sequence-length 128)

quantize() { # DST OPTION...: the report goes to out.json
  "$MTK" quantize "$petit" "$@" -q -f --json >"$tmp/out.json" 2>"$tmp/err" || fail "quantize $*: $(cat "$tmp/err")"
}
# KLD of a model from another one, else from petit.
kld() { "$MTK" eval "$1" --kld "${2:-$petit}" --text "$tmp/text" --ctx 128 --json -q | jq .kld; }
less() { jq -en --argjson a "$2" --argjson b "$3" '$a < $b' >/dev/null || fail "$1: $2 is not below $3"; }

same_bytes_each_way() { # FILE OPTION...: the file is what they give on other threads and instruction levels
  local file="$1" way level options
  shift
  for way in "--threads 1" "--threads 2" "MTK_CPU=ref" "MTK_CPU=avx2" "MTK_CPU=avx512" "MTK_CPU=amx"; do
    level="" options=()
    case "$way" in MTK_CPU=*) level="${way#MTK_CPU=}" ;; *) read -ra options <<<"$way" ;; esac
    MTK_CPU="$level" "$MTK" quantize "$petit" "$tmp/again.gguf" "$@" "${options[@]}" -q -f >/dev/null 2>"$tmp/err" ||
      { grep -q "cannot run the kernel level" "$tmp/err" && continue; fail "$*, $way: $(cat "$tmp/err")"; }
    cmp "$tmp/again.gguf" "$file" || fail "$* gives other bytes with $way"
  done
}

wrong() { # EXPECTED_CODE TEXT OPTION...: one line, and nothing is written
  local code=0 want="$1" text="$2"
  shift 2
  "$MTK" quantize "$petit" "$tmp/wrong.gguf" "$@" -q >/dev/null 2>"$tmp/err" || code=$?
  same "exit code of $*" "$code" "$want"
  grep -q -- "$text" "$tmp/err" || fail "$*: $(cat "$tmp/err")"
  same "lines on stderr of $*" "$(wc -l <"$tmp/err")" 1
  [ ! -e "$tmp/wrong.gguf" ] || fail "$* left a file"
}
