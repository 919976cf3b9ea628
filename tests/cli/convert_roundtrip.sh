# mtk convert: HF -> GGUF -> HF returns every byte, shards and adapters included; the same command
# gives the same bytes; existing output stays.
. "$(dirname "$0")/_common.sh"
tiny="$MTK_SRC/tests/golden/formats/tiny"
lora="$MTK_SRC/tests/golden/formats/tiny-lora"

"$MTK" convert "$tiny" a.gguf -q
"$MTK" convert a.gguf back -q
for file in config.json tokenizer.json tokenizer_config.json generation_config.json LICENSE \
  README.md; do
  cmp "$tiny/$file" "back/$file" || fail "$file differs"
done
"$MTK" convert back direct.safetensors -q
"$MTK" convert "$tiny" source.safetensors -q
# The headers differ in metadata; the data is the end of the file.
bytes="$(($(stat -c %s source.safetensors) - 8 - $(od -An -tu8 -N8 source.safetensors)))"
cmp <(tail -c "$bytes" source.safetensors) <(tail -c "$bytes" direct.safetensors) ||
  fail "tensor bytes differ after HF -> GGUF -> HF"

cp a.gguf first.gguf
"$MTK" convert "$tiny" a.gguf -q --force
cmp first.gguf a.gguf || fail "the same command gave other bytes"

"$MTK" convert "$tiny" shards --max-shard-size 20KB -q
[ -e shards/model.safetensors.index.json ] || fail "no index beside the shards"
"$MTK" convert shards whole -q
cmp "$tiny/model.safetensors" whole/model.safetensors || fail "shards lost something"

"$MTK" convert "$lora" lora.gguf --base "$tiny" -q
"$MTK" convert lora.gguf lora --base "$tiny" -q
[ -e lora/adapter_model.safetensors ] || fail "no adapter folder"
for name in adapter_model.safetensors config.json model.safetensors; do
  grep -aq "\"name\": \".*/$name\"" lora.gguf || fail "the provenance of the adapter lacks $name"
done

touch there.gguf
refuses 1 'exists' "$MTK" convert "$tiny" there.gguf
[ ! -s there.gguf ] || fail "an existing file was overwritten"
refuses 2 'max-shard-size' "$MTK" convert "$tiny" x --max-shard-size 20XB
nothing_left x
refuses 1 'adapter' "$MTK" convert "$lora" x.gguf
