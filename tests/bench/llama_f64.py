"""A Llama in GGUF, evaluated in float64: what the errors of faster arithmetics are measured from.

Weights are decoded by the gguf package, so nothing of mtk or llama.cpp is in it. The layout is llama.cpp's: rows of
queries and keys are permuted so that RoPE turns neighbours (2i, 2i+1).
"""
import gguf
import numpy

ROWS = 8  # windows at a time: their logits take ROWS * length * vocabulary * 8 bytes


class Llama:
    def __init__(self, path):
        reader = gguf.GGUFReader(path)
        self.meta = {f.name.split(".", 1)[-1]: f.contents() for f in reader.fields.values()
                     if f.name.startswith("llama.")}
        self.weights = {t.name: gguf.quants.dequantize(t.data, t.tensor_type).astype(numpy.float64)
                        for t in reader.tensors}
        self.heads = self.meta["attention.head_count"]
        self.kv_heads = self.meta["attention.head_count_kv"]

    def norm(self, x, name):
        mean = numpy.square(x).mean(-1, keepdims=True)
        return x / numpy.sqrt(mean + float(self.meta["attention.layer_norm_rms_epsilon"])) * self.weights[name]

    def rope(self, x):
        """x [windows, length, heads, size]"""
        size = self.meta["rope.dimension_count"]
        turn = float(self.meta["rope.freq_base"]) ** (-numpy.arange(0, size, 2, dtype=numpy.float64) / size)
        angle = numpy.arange(x.shape[1], dtype=numpy.float64)[:, None, None] * turn
        even, odd, cos, sin = x[..., 0::2], x[..., 1::2], numpy.cos(angle), numpy.sin(angle)
        out = numpy.empty_like(x)
        out[..., 0::2], out[..., 1::2] = even * cos - odd * sin, even * sin + odd * cos
        return out

    def attention(self, x, layer):
        n, length, _ = x.shape
        q, k, v = (x @ self.weights[f"blk.{layer}.attn_{w}.weight"].T for w in "qkv")
        q = self.rope(q.reshape(n, length, self.heads, -1))
        k = self.rope(k.reshape(n, length, self.kv_heads, -1))
        v = v.reshape(n, length, self.kv_heads, -1)
        k, v = (numpy.repeat(t, self.heads // self.kv_heads, axis=2) for t in (k, v))
        score = numpy.einsum("nqhd,nkhd->nhqk", q, k, optimize=True) / numpy.sqrt(q.shape[-1])
        score[..., numpy.triu(numpy.ones((length, length), bool), 1)] = -numpy.inf
        p = numpy.exp(score - score.max(-1, keepdims=True))
        p /= p.sum(-1, keepdims=True)
        out = numpy.einsum("nhqk,nkhd->nqhd", p, v, optimize=True).reshape(n, length, -1)
        return out @ self.weights[f"blk.{layer}.attn_output.weight"].T

    def feed_forward(self, x, layer):
        gate, up, down = (self.weights[f"blk.{layer}.ffn_{w}.weight"] for w in ("gate", "up", "down"))
        g = x @ gate.T
        return (g / (1 + numpy.exp(-g)) * (x @ up.T)) @ down.T

    def logits(self, ids):
        """ids [windows, length] -> [windows, length, vocabulary]"""
        x = self.weights["token_embd.weight"][ids]
        for layer in range(self.meta["block_count"]):
            x = x + self.attention(self.norm(x, f"blk.{layer}.attn_norm.weight"), layer)
            x = x + self.feed_forward(self.norm(x, f"blk.{layer}.ffn_norm.weight"), layer)
        head = self.weights.get("output.weight", self.weights["token_embd.weight"])
        return self.norm(x, "output_norm.weight") @ head.T

    def losses(self, windows):
        """Nats of every id but the first, [windows, length - 1]."""
        out = []
        for at in range(0, len(windows), ROWS):
            ids = numpy.array(windows[at:at + ROWS])
            logits = self.logits(ids)[:, :-1]
            peak = logits.max(-1)
            total = peak + numpy.log(numpy.exp(logits - peak[..., None]).sum(-1))
            out.append(total - numpy.take_along_axis(logits, ids[:, 1:, None], -1)[..., 0])
        return numpy.concatenate(out)
