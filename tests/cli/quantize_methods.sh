#!/bin/bash
# Methods of mtk quantize: each is better than plain rounding on the bundled model, gives the same bytes
# on one and two threads and at every instruction level, and says what it needs.
set -euo pipefail
source "$MTK_SRC/tests/cli/_quantize.sh"

quantize "$tmp/rtn.gguf" --to nvfp4
quantize "$tmp/four.gguf" --to nvfp4 --method four-over-six
quantize "$tmp/sweep.gguf" --to nvfp4 --method sweep
quantize "$tmp/weighted.gguf" --to nvfp4 --method sweep "${calibrated[@]}"
quantize "$tmp/gptq.gguf" --to nvfp4 --method gptq "${calibrated[@]}"
rtn=$(kld "$tmp/rtn.gguf") four=$(kld "$tmp/four.gguf") sweep=$(kld "$tmp/sweep.gguf")
weighted=$(kld "$tmp/weighted.gguf") gptq=$(kld "$tmp/gptq.gguf")
echo "nvfp4, KLD: rtn $rtn, four-over-six $four, sweep $sweep, weighted $weighted, gptq $gptq"
less "four-over-six (it may lose to rtn on one model)" "$four" 1
cmp -s "$tmp/four.gguf" "$tmp/rtn.gguf" && fail "four-over-six is rtn"
less "sweep" "$sweep" "$rtn"
less "weighted sweep" "$weighted" "$rtn"
less "gptq" "$gptq" "$sweep"
quantize "$tmp/q4.gguf" --to q4_0
quantize "$tmp/q4g.gguf" --to q4_0 --method gptq "${calibrated[@]}"
less "gptq on q4_0" "$(kld "$tmp/q4g.gguf")" "$(kld "$tmp/q4.gguf")"
quantize "$tmp/mx.gguf" --to mxfp4
quantize "$tmp/mxs.gguf" --to mxfp4 --method sweep
quantize "$tmp/mxe.gguf" --to mxfp4 --mx-scale even
less "mxfp4 sweep" "$(kld "$tmp/mxs.gguf")" "$(kld "$tmp/mx.gguf")"
cmp -s "$tmp/mx.gguf" "$tmp/mxe.gguf" && fail "--mx-scale changes nothing"

# chats as the model's template writes them; the seed chooses among them, tokens and length cut
chats() { quantize "$tmp/$1.gguf" --to nvfp4 --method sweep --calibration "$train" "${@:2}"; }
chats one --calibration-tokens 300 --seed 1
chats two --calibration-tokens 300 --seed 2
chats again --calibration-tokens 300 --seed 1
chats longer --calibration-tokens 600 --seed 1
chats shorter --calibration-tokens 300 --seed 1 --sequence-length 16
cmp "$tmp/one.gguf" "$tmp/again.gguf" || fail "the same seed gives other bytes"
one=$(kld "$tmp/one.gguf")
for other in two longer shorter; do
  [ "$(kld "$tmp/$other.gguf")" != "$one" ] || fail "calibration '$other' changes nothing"
done

# the same bytes however it is computed
same_bytes_each_way "$tmp/weighted.gguf" --to nvfp4 --method sweep "${calibrated[@]}"
same_bytes_each_way "$tmp/gptq.gguf" --to nvfp4 --method gptq "${calibrated[@]}"

# what goes wrong
wrong 2 "needs --calibration" --to nvfp4 --method gptq
wrong 2 "no target 'q3_k'" --to q3_k --method sweep
wrong 1 "no-such-file" --to nvfp4 --method gptq --calibration "$tmp/no-such-file"
wrong 2 "mx-scale" --to mxfp4 --mx-scale up
: >"$tmp/empty.txt"
wrong 1 "empty.txt" --to nvfp4 --method gptq --calibration "$tmp/empty.txt"
echo "quantize methods: ok"
