# mtk inspect: what a model is, its tokenizer, what its templates handle, licence and provenance, as
# text and as one JSON document; checkpoints, arrays and archives too.
. "$(dirname "$0")/_common.sh"
cp -r "$MTK_SRC/tests/golden/formats/tiny" model
cat >model/chat_template.jinja <<'JINJA'
{%- for m in messages %}
{%- if m.role == 'developer' %}{{ raise_exception('no') }}{% endif %}
{%- if m.tool_calls %}{{ m.tool_calls[0].function.name }}{% endif %}
{{- m.role }}{{ m.content }}
{%- if m.reasoning_content %}<t>{{ m.reasoning_content }}{% endif %}
{%- endfor %}
{%- if tools %}{{ tools | tojson }}{% endif %}
JINJA
mkdir model/additional_chat_templates
printf '{%% for m in messages %%}{%% if m.role == "user" %%}{{ m.content }}{%% endif %%}{%% endfor %%}' \
  >model/additional_chat_templates/plain.jinja
printf '{%% if %%}' >model/additional_chat_templates/broken.jinja
printf -- '---\nlanguage: en\nlicense: apache-2.0\n---\n# A card\n' >model/README.md

expect() { grep -Eq -- "$1" out || fail "no '$1' in: $(cat out)"; }
"$MTK" inspect model --tensors >out
expect '^format +hf: Hugging Face folder'
expect '^architecture +llama$'
expect '^parameters +47616$'
expect '16\.000 bits per weight'
expect 'kind +BPE'
expect '^chat template default: system, user, assistant, tool; tools; reasoning$'
expect ' plain: user$'
expect ' broken: line 1: '
expect '^licence +apache-2.0 \(README.md\)$'
expect 'blk\.0\.attn_q\.weight +bf16 +'
grep -q 'made by' out && fail "provenance out of nothing"

"$MTK" quantize model q.gguf --to q8_0 -q >/dev/null
"$MTK" inspect q.gguf >out
expect '^made by +mtk [0-9.]+ quantize'
"$MTK" inspect q.gguf --json >out
python3 - <<'PY'
import json
o = json.load(open("out"))
assert o["license"] == {"license": "apache-2.0", "from": "README.md"}, o["license"]
assert o["provenance"]["command"] == "quantize", o["provenance"]
assert o["tokenizer"]["kind"] == "BPE" and o["tokenizer"]["special"] > 0, o["tokenizer"]
names = {t["name"]: t for t in o["chat_templates"]}
assert names["default"]["tools"] and "tool" in names["default"]["roles"], names
assert o["kind"] == "model" and 8 < o["bits_per_weight"] < 16, o["bits_per_weight"]
PY

"$MTK" inspect "$MTK_SRC/formats/torch/corpus/good.pt" --tensors >out
expect '^format +torch: PyTorch checkpoint'
expect '^architecture +\(unknown: bare tensors\)$'
expect '^tokenizer +none$'
expect 'model\.turned +f32 +4 x 2 x 3'
expect 'warning: .*epoch'
"$MTK" inspect "$MTK_SRC/tests/golden/formats/tiny-lora" >out
expect 'LoRA adapter, rank'
refuses 1 'not a model in a known format' "$MTK" inspect "$MTK_SRC/build.sh"
