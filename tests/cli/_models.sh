# shellcheck shell=bash
# _models.sh: what the tests with real models share. Sourced; makes the scratch folder $tmp.
# Needs MTK (the binary) and MTK_SRC (the source root).
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

fail() {
  echo "FAIL: $*" >&2
  exit 1
}

skip() {
  echo "SKIP: $*"
  exit 77
}

. "${BASH_SOURCE[0]%/*}/_levels.sh"

need_data() { # sets $data
  data="${MTK_TEST_DATA:-}"
  [ -n "$data" ] || skip "MTK_TEST_DATA is not set"
  local path
  for path in "$@"; do [ -e "$data/$path" ] || skip "$data has no $path"; done
}

need_smollm2() { # sets $smol
  smol="${XDG_CACHE_HOME:-$HOME/.cache}/mtk/smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
  [ -f "$smol" ] || skip "no $smol; scripts/fetch-model.sh smollm2 fetches it"
}

# same WHAT GOT WANT: two texts or words are equal
same() { [ "$2" = "$3" ] || fail "$1: got $2, expected $3"; }

# tensor_sums FOLDER_OR_FILE: "name dtype shape sha256" of every tensor of its safetensors, sorted
tensor_sums() {
  python3 - "$1" <<'EOF'
import hashlib, json, pathlib, sys
path = pathlib.Path(sys.argv[1])
rows = []
for file in sorted(path.glob("*.safetensors")) if path.is_dir() else [path]:
    data = file.read_bytes()
    n = int.from_bytes(data[:8], "little")
    for name, t in json.loads(data[8:8 + n]).items():
        if name != "__metadata__":
            begin, end = (8 + n + o for o in t["data_offsets"])
            rows.append(f"{name} {t['dtype']} {t['shape']} {hashlib.sha256(data[begin:end]).hexdigest()}")
print("\n".join(sorted(rows)))
EOF
}
