#!/bin/sh
# test.sh FOLDER: mtk ($MTK) with the plugin in FOLDER reads a .hello file, writes it again with the
# same bytes, and refuses damaged ones with a position.
set -eu
MTK=${MTK:-mtk}
MTK_PLUGIN_PATH=$(cd "$1" && pwd)
export MTK_PLUGIN_PATH
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

"$MTK" plugin check "$MTK_PLUGIN_PATH/hello-format.so" > /dev/null

# Header of 128 bytes, then a 2 x 2 matrix (1, 2, 3, 4) and a vector (0.5).
{
  printf 'hello 1 0000000000000128\nmeta general.name string a small model\n'
  printf 'meta eps float 0.5\ntensor w 2 2\ntensor b 1\nend\n'
} > "$tmp/head"
cp "$tmp/head" "$tmp/a.hello"
truncate -s 128 "$tmp/a.hello"
printf '\000\000\200\077\000\000\000\100\000\000\100\100\000\000\200\100' >> "$tmp/a.hello"
printf '\000\000\000\077' >> "$tmp/a.hello"

"$MTK" inspect --tensors "$tmp/a.hello" | grep -q 'w '
"$MTK" convert "$tmp/a.hello" "$tmp/b.hello" > /dev/null
cmp "$tmp/a.hello" "$tmp/b.hello"
"$MTK" convert "$tmp/a.hello" "$tmp/c.gguf" > /dev/null
"$MTK" convert "$tmp/c.gguf" "$tmp/d.hello" > /dev/null 2>&1
tail -c 20 "$tmp/a.hello" > "$tmp/want"
tail -c 20 "$tmp/d.hello" | cmp - "$tmp/want"

refused() { # FILE TEXT: not read, and the message holds TEXT
  if "$MTK" inspect "$1" > /dev/null 2> "$tmp/err"; then
    echo "$1 was read" >&2
    exit 1
  fi
  grep -q "$2" "$tmp/err" || { cat "$tmp/err" >&2; exit 1; }
}
head -c 147 "$tmp/a.hello" > "$tmp/short.hello"
refused "$tmp/short.hello" 'the file ends inside this tensor'
head -c 60 "$tmp/a.hello" > "$tmp/cut.hello"
refused "$tmp/cut.hello" 'first line'
sed 's/tensor w 2 2/tensor w 9999999999999999 9999999999999999/' "$tmp/a.hello" > "$tmp/big.hello"
refused "$tmp/big.hello" 'too large'
sed 's/meta eps/what eps/' "$tmp/a.hello" > "$tmp/word.hello"
refused "$tmp/word.hello" 'byte 64: expected arch, meta, tensor or end'
echo "hello-format: passed"
