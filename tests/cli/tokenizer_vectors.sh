#!/usr/bin/env bash
# tokenizer_vectors.sh: `mtk tokenize` over every tokenizer vector of the data set whose vocabulary
# is there: llama.cpp's, transformers.js's, swift-transformers', tiktoken's, mistral-common's, and
# goldens of the sentencepiece, tiktoken and mistral-common packages. Needs MTK_TEST_DATA.
source "$MTK_SRC/tests/cli/_common.sh"

[ -n "${MTK_TEST_DATA:-}" ] || skip "MTK_TEST_DATA does not name the data set"
[ -d "$MTK_TEST_DATA/tokenizers" ] || skip "no folder $MTK_TEST_DATA/tokenizers"

python3 "$MTK_SRC/tests/cli/_tokenizer_vectors.py" "$MTK" "$MTK_TEST_DATA" "$MTK_SRC"
