#!/usr/bin/env bash
# Wrong usage: one clear line on stderr, the right exit code (2 wrong usage, 1 it failed), nothing
# half-written.
. "${BASH_SOURCE[0]%/*}/_common.sh"
make_model
make_data train.jsonl 20
head -c 100 /dev/urandom >noise.bin
echo '[{"role": "user", "content": "x"}]' >chat.json
mkdir empty

# ---- the command line ----------------------------------------------------------------------------
run_quiet 2 "$MTK"
grep -q 'usage: mtk COMMAND' out
run_quiet 0 "$MTK" --help
run_quiet 0 "$MTK" --version
refuses 2 'unknown command' "$MTK" nonsense
commands="convert quantize finetune serve run eval bench inspect tokenize template verify plugin doctor"
for c in $commands; do
  refuses 2 "unknown option '--no-such-option'" "$MTK" "$c" --no-such-option
  refuses 2 "unknown option '-Z'" "$MTK" "$c" -Z
  run_quiet 0 "$MTK" "$c" --help
  grep -q "usage: mtk $c" out || fail "$c --help shows no usage"
  [ ! -s err ] || fail "$c --help wrote to stderr"
done
for c in convert quantize finetune serve run eval bench inspect tokenize template verify plugin; do
  refuses 2 'missing argument|needs' "$MTK" "$c"
done
refuses 2 'too many arguments' "$MTK" run model model
refuses 2 'needs a value' "$MTK" run model -p
refuses 2 'takes no value' "$MTK" run model --json=1
refuses 2 'not a whole number' "$MTK" run model -p x -n many
refuses 2 'threads' "$MTK" run model -p x -t 100000
refuses 2 'activations' "$MTK" run model -p x --activations a7
refuses 2 'give one of' "$MTK" run model
refuses 2 'give one of' "$MTK" run model -p x --raw y
refuses 2 'give one of' "$MTK" eval model
refuses 2 'give --to' "$MTK" quantize model q.gguf
refuses 2 "no target 'q1'" "$MTK" quantize model q.gguf --to q1
refuses 2 "no method 'magic'" "$MTK" quantize model q.gguf --to q8_0 --method magic
refuses 2 'give --data' "$MTK" finetune model --out a
refuses 2 'give --out' "$MTK" finetune model --data train.jsonl
refuses 2 "no recipe 'magic'" "$MTK" finetune model --data train.jsonl --out a --method magic
refuses 2 'HOST:PORT' "$MTK" serve model --listen nowhere
refuses 2 "no server 'magic'" "$MTK" serve model --server magic
nothing_left q.gguf
nothing_left a

# ---- models that are none ------------------------------------------------------------------------
for c in "run -p x" "serve" "eval --ppl train.jsonl" "bench" "inspect" "tokenize --text x" \
  "template --messages chat.json"; do
  read -ra words <<<"$c"
  refuses 1 'no such file' "$MTK" "${words[0]}" missing "${words[@]:1}"
  refuses 1 'noise.bin.*not a model' "$MTK" "${words[0]}" noise.bin "${words[@]:1}"
  refuses 1 'empty.*not a model' "$MTK" "${words[0]}" empty "${words[@]:1}"
done
refuses 1 'no such file' "$MTK" convert missing c.gguf
refuses 1 'not a model' "$MTK" convert noise.bin c.gguf
refuses 1 'no such file' "$MTK" quantize missing c.gguf --to q8_0
refuses 1 'no such file' "$MTK" finetune missing --data train.jsonl --out c.gguf
refuses 1 'no such file|cannot open' "$MTK" finetune model --data missing --out c.gguf
echo '{"messages": 1}' >bad.jsonl
refuses 1 'bad.jsonl.*line 1' "$MTK" finetune model --data bad.jsonl --out c.gguf
refuses 1 'no such file|cannot open' "$MTK" run model --messages missing
refuses 1 'noise.bin' "$MTK" run model --messages noise.bin
refuses 1 'no such file|cannot open' "$MTK" eval model --ppl missing
nothing_left c.gguf

"$MTK" convert model whole.gguf -q >/dev/null
size="$(stat -c %s whole.gguf)"
for n in 3 20 1000 "$((size / 2))" "$((size - 1))"; do
  head -c "$n" whole.gguf >cut.gguf
  refuses 1 'cut.gguf' "$MTK" convert cut.gguf c.gguf
  nothing_left c.gguf
done
cp -r model cut-model
head -c 1000 model/model.safetensors >cut-model/model.safetensors
refuses 1 'model.safetensors' "$MTK" run cut-model -p x
echo '{"architectures": ["NoSuchNet"], "model_type": "nosuch"}' >cut-model/config.json
refuses 1 'nosuch|NoSuchNet|model.safetensors' "$MTK" run cut-model -p x

# ---- adapters --------------------------------------------------------------------------------
"$MTK" finetune model --data train.jsonl --out adapter --steps 1 --rank 2 -q >/dev/null
run_quiet 0 "$MTK" run model -p x -n 1 --adapter adapter
refuses 1 'missing' "$MTK" run model -p x --adapter missing
refuses 1 'not an adapter' "$MTK" run model -p x --adapter noise.bin
refuses 1 'adapter' "$MTK" run model -p x --adapter model
refuses 1 'adapter' "$MTK" run adapter -p x
cp -r adapter corrupt
head -c 700 adapter/adapter_model.safetensors >corrupt/adapter_model.safetensors
refuses 1 'adapter_model.safetensors' "$MTK" run model -p x --adapter corrupt
refuses 1 'adapter_model.safetensors' "$MTK" serve model --listen 127.0.0.1:0 --adapter bad=corrupt
echo '{' >corrupt/adapter_config.json
refuses 1 'adapter_config.json' "$MTK" run model -p x --adapter corrupt

# ---- limits ----------------------------------------------------------------------------------
long="$(head -c 3000 train.jsonl)"
refuses 1 'context' "$MTK" run model --raw "$long" --context 16
refuses 1 'context' "$MTK" run model -p "$long" --context 16 --json
[ ! -s out ] || fail "a failed run wrote to stdout"

# ---- outputs ---------------------------------------------------------------------------------
before="$(sha256sum whole.gguf)"
refuses 1 'whole.gguf: exists' "$MTK" convert model whole.gguf
refuses 1 'whole.gguf: .*exists' "$MTK" quantize model whole.gguf --to q8_0
refuses 1 'adapter: exists' "$MTK" finetune model --data train.jsonl --out adapter
[ "$before" = "$(sha256sum whole.gguf)" ] || fail "a refused command changed its output"
refuses 1 'folder' "$MTK" convert model missing/c.gguf
refuses 1 'cannot create' "$MTK" convert model /proc/c.gguf
refuses 1 'cannot create|cannot open' "$MTK" quantize model /proc/c.gguf --to q8_0
# The message must come before the training, not after it.
refuses 1 'folder|cannot create' "$MTK" finetune model --data train.jsonl --out missing/c
run_quiet 0 "$MTK" quantize model dry.gguf --to q8_0 --dry-run
nothing_left dry.gguf
if [ "$(id -u)" -ne 0 ]; then
  mkdir locked
  chmod 555 locked
  refuses 1 'cannot create' "$MTK" convert model locked/c.gguf
fi

# ---- no space --------------------------------------------------------------------------------
limited() { # BLOCKS of 1024 bytes a file may have, COMMAND...
  (
    ulimit -f "$1"
    shift
    "$@"
  )
}
# What is there already is kept for --resume where that was said, and nowhere else.
stops_with_part() { # OUTPUT REGEX COMMAND...
  local part
  part="$(dirname "$1")/.$(basename "$1").mtk-tmp.resume"
  refuses 1 "$2.*--resume goes on.*$(basename "$part")" "${@:3}"
  [ -d "$part" ] || fail "$part was announced, and is not there"
  rm -r "$part"
}
stops_with_part c.gguf 'c.gguf.*cannot write' limited 100 "$MTK" convert model c.gguf
stops_with_part c.gguf 'c.gguf.*cannot write' limited 100 "$MTK" quantize model c.gguf --to q8_0
stops_with_part c 'cannot write' limited 100 "$MTK" quantize model c --to fp8 --layout hf
refuses 1 'cannot write' limited 100 "$MTK" finetune model --data train.jsonl --out c \
  --adapter none --steps 1 -q --save-every 0
nothing_left c
nothing_left c.gguf
cp whole.gguf kept.gguf
stops_with_part kept.gguf 'cannot write' limited 100 "$MTK" convert model kept.gguf --force
cmp whole.gguf kept.gguf || fail "a failed --force changed the old file"
refuses 1 'standard output: cannot write' bash -c '"$MTK" inspect model --json >/dev/full'
refuses 1 'standard output: cannot write' bash -c '"$MTK" run model -p x -n 200 >/dev/full'
mkdir small
if mount -t tmpfs -o size=256k tmpfs small 2>/dev/null; then
  trap 'umount "$work/small"; rm -rf "$work"' EXIT
  stops_with_part small/c.gguf 'No space left' "$MTK" convert model small/c.gguf
  [ -z "$(ls -A small)" ] || fail "left on the full disk: $(ls -A small)"
else
  echo "note: no right to mount a small disk; a file size limit stood in for it"
fi

# ---- a port in use -----------------------------------------------------------------------------
coproc holder { python3 -c '
import socket, sys
s = socket.socket()
s.bind(("127.0.0.1", 0))
s.listen()
print(s.getsockname()[1], flush=True)
sys.stdin.read()'; }
read -r port <&"${holder[0]}"
refuses 1 "127.0.0.1:$port.*in use" "$MTK" serve model --listen "127.0.0.1:$port"
eval "exec ${holder[1]}>&-"
wait
echo "usage: all refused as they should be"
