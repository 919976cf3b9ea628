# Models inside tar and zip files: every good archive gives the bytes of the model, in place where
# nothing is compressed; every hostile one is refused in one line; readers of other formats work.
. "$(dirname "$0")/_common.sh"
grep -q '"archive"' <("$MTK" convert --list --json) || skip "the archive plugin is not built"
tiny="$MTK_SRC/tests/golden/formats/tiny"

python3 "$MTK_SRC/tests/oracle/make_archive_corpus.py" made bomb
for archive in made/good*; do
  "$MTK" convert "$archive" out.safetensors --force -v >/dev/null 2>err || fail "$archive: $(cat err)"
  tail -c 32 out.safetensors | cmp - <(python3 -c '
import struct, sys
sys.stdout.buffer.write(struct.pack("<8f", *range(8)))') || fail "$archive: other values"
  case "$archive" in
  *.gz | *.zst | *deflated*) grep -q 'unpacked into a scratch file' err || fail "$archive: $(cat err)" ;;
  *) grep -q 'unpacked' err && fail "$archive was copied" ;;
  esac
done

refuses 1 'leaves the folder: refused' "$MTK" inspect made/evil_up.tar
refuses 1 'leaves the folder: refused' "$MTK" inspect made/evil_inner_up.tar
refuses 1 'leaves the folder: refused' "$MTK" inspect made/evil_up.zip
refuses 1 'absolute name: refused' "$MTK" inspect made/evil_absolute.tar
refuses 1 'is a link: refused' "$MTK" inspect made/evil_symlink.tar
refuses 1 'is a link: refused' "$MTK" inspect made/evil_hardlink.tar
refuses 1 'no file: refused' "$MTK" inspect made/evil_device.tar
refuses 1 "two members are named 'model.safetensors'" "$MTK" inspect made/evil_twice.tar
refuses 1 "'a' is a file and a folder" "$MTK" inspect made/evil_file_folder.tar
refuses 1 'holds no model|empty|known format' "$MTK" inspect made/evil_empty.tar
refuses 1 'holds no model' "$MTK" inspect made/evil_nothing.tar
refuses 1 'holds no model' "$MTK" inspect made/evil_nested.zip
refuses 1 'evil_cut.tar: archive' "$MTK" inspect made/evil_cut.tar
refuses 1 'evil_cut.tar.gz: archive' "$MTK" inspect made/evil_cut.tar.gz
refuses 1 'MTK_EXPAND_LIMIT' env MTK_EXPAND_LIMIT=1000000 "$MTK" inspect made/evil_bomb.tar.gz
[ -z "$(find "${TMPDIR:-/tmp}" -maxdepth 1 -name 'mtk-scratch-*' -newer made/good.tar)" ] ||
  fail "a scratch file was left"

# A whole model folder, a GGUF, a checkpoint and an adapter, each inside an archive.
tar cf tiny.tar -C "$(dirname "$tiny")" tiny
"$MTK" convert tiny.tar back -q >/dev/null
for file in model.safetensors config.json tokenizer.json LICENSE; do
  cmp "$tiny/$file" "back/$file" || fail "$file differs"
done
"$MTK" convert "$tiny" m.gguf -q >/dev/null
tar cf gguf.tar m.gguf
"$MTK" inspect gguf.tar --json >out
grep -q '"format": "gguf in an archive"' out || fail "no GGUF was seen in gguf.tar"
cp "$MTK_SRC/formats/torch/corpus/zip_fine.pt" x.pt
tar czf pt.tar.gz x.pt
grep -q '^format *torch in an archive' <("$MTK" inspect pt.tar.gz) || fail "no checkpoint in pt.tar.gz"
tar cf lora.tar -C "$(dirname "$tiny")" tiny-lora
"$MTK" convert "$tiny" merged --adapter lora.tar -q >/dev/null
"$MTK" convert "$tiny" merged2 --adapter "$tiny-lora" -q >/dev/null
cmp merged/model.safetensors merged2/model.safetensors || fail "the adapter in an archive differs"
echo "archives: $(find made -name 'good*' | wc -l) read, $(find made -name 'evil*' | wc -l) refused"
