#!/bin/bash
# A third party's plugin, built by its own Makefile against the headers alone, converts models.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
cp "$MTK_SRC"/examples/hello-format/* "$tmp"/
cp -r "$MTK_SRC/core/include" "$tmp/include"
make -s -C "$tmp" MTK_INCLUDE="$tmp/include" MTK="$MTK" check
