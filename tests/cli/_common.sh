# _common.sh: sourced by the tests of this folder. A work folder of its own, a small model, and
# checks that say what they saw. Environment: MTK (binary), MTK_SRC (source root).
set -euo pipefail

work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
cd "$work"

fail() {
  echo "FAILED: $*" >&2
  exit 1
}

skip() {
  echo "SKIP: $*"
  exit 77
}

. "${BASH_SOURCE[0]%/*}/_levels.sh"

command -v python3 >/dev/null || skip "no python3"

# A few training examples of petit's own generator.
make_data() { # FILE COUNT
  python3 "$MTK_SRC/examples/petit/generate.py" train --count "$2" --seed 1 --out "$1" >/dev/null
}

# ./model: the bundled model, or the same with random weights where those are not there yet.
make_model() {
  local petit="$MTK_SRC/examples/petit/model"
  if [ -e "$petit/model.safetensors" ]; then
    cp -r "$petit" model
    return
  fi
  make_data random.jsonl 20
  "$MTK" finetune "$petit" --init "$petit/config.json" --data random.jsonl --steps 1 \
    --adapter none --out model -q >/dev/null
}

# run_quiet CODE COMMAND...: the exit code must be CODE; output goes to ./out and ./err.
run_quiet() {
  local want="$1" got=0
  shift
  "$@" >out 2>err </dev/null || got=$?
  [ "$got" -eq "$want" ] || fail "exit code $got, not $want: $* -- $(head -c 1000 err)"
}

# refuses CODE PATTERN COMMAND...: exit code CODE and exactly one line on stderr that matches.
refuses() {
  local want="$1" pattern="$2"
  shift 2
  run_quiet "$want" "$@"
  [ "$(wc -l <err)" -eq 1 ] || fail "not one line on stderr: $* -- $(head -c 2000 err)"
  grep -Eq -- "$pattern" err || fail "stderr does not match '$pattern': $* -- $(cat err)"
}

# Is the binary one of the sanitizers'? They reserve terabytes of addresses and keep memory of their own.
sanitized() { grep -Eqa '__(asan|tsan|ubsan)_' "$MTK"; }

# nothing_left NAME: neither the output nor a temporary of it.
nothing_left() {
  local found
  found="$(find . -maxdepth 1 \( -name "$1" -o -name ".$1.mtk-*" \))"
  [ -z "$found" ] || fail "left behind: $found"
}

is_json() { python3 -c 'import json, sys; json.load(open(sys.argv[1]))' "$1"; }
is_json_lines() {
  python3 -c 'import json, sys; [json.loads(l) for l in open(sys.argv[1])]' "$1"
}
