#!/usr/bin/env bash
# The demo on the bundled model: every step runs, and gives the very results that any machine gives.
. "${BASH_SOURCE[0]%/*}/_common.sh"
bash "$MTK_SRC/examples/petit/demo.sh" "$MTK" >demo.txt || fail "the demo ended with $?"
expect() { grep -qF -- "$1" demo.txt || fail "the demo does not say: $1"; }
expect 'evaluate petit-nvfp4'
[ "$(grep -c '^70 of 70 exact' demo.txt)" -eq 2 ] || fail "not all 70 questions answered exactly"
expect '26 of 40 exact (65 %) -> 40 of 40 exact (100 %)'
expect '  answers: La réponse est \boxed{623}.'
expect 'Ich suche "n": 1:b≠n,0 2:a≠n,0 3:n=n,1 4:a≠n,1 5:n=n,2 6:e≠n,2. Es sind 2.'
expect '  answers: A resposta é \boxed{623}.'
echo "demo: ok"
