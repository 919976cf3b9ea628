# NumPy reads what mtk writes: every value, type and shape (MTK_PYTHON: an interpreter with numpy).
. "$(dirname "$0")/_common.sh"
python="${MTK_PYTHON:-python3}"
golden="$MTK_SRC/tests/golden/formats"
grep -q '"npz"' <("$MTK" convert --list --json) || skip "the npz plugin is not built"
"$python" -c 'import numpy' 2>/dev/null || skip "the Python package numpy is not installed"

"$MTK" convert "$golden/arrays.npz" a.npz -q >/dev/null
"$MTK" convert "$golden/arrays_deflated.npz" b.npz -q >/dev/null
"$MTK" convert "$golden/array.npy" c.npy -q >/dev/null
"$MTK" convert "$golden/arrays.npz" f8.npy --tensor f8 -q >/dev/null
"$MTK" convert "$golden/tiny" tiny.npz -q >/dev/null
"$python" - "$golden" <<'PY'
import pathlib, sys, zipfile
import numpy as np
golden = pathlib.Path(sys.argv[1])
want = np.load(golden / "arrays.npz", allow_pickle=False)
names = [n for n in want.files if n not in ("text", "wide")]
for file in ("a.npz", "b.npz"):
    assert zipfile.ZipFile(file).testzip() is None, file
    have = np.load(file, allow_pickle=False)
    assert have.files == names, (have.files, names)
    for n in names:
        a, b = want[n], have[n]
        assert a.shape == b.shape and a.dtype.newbyteorder("<") == b.dtype and (a == b).all(), n
assert (np.load("c.npy") == np.load(golden / "array.npy")).all()
assert (np.load("f8.npy") == want["f8"]).all() and np.load("f8.npy").dtype == np.float64
tiny = np.load("tiny.npz")
raw = (golden / "tiny/model.safetensors").read_bytes()
import json, struct
n = struct.unpack("<Q", raw[:8])[0]
head = json.loads(raw[8:8 + n])
b, e = head["model.norm.weight"]["data_offsets"]
half = np.frombuffer(raw[8 + n + b:8 + n + e], "<u2").astype("<u4") << 16
assert (tiny["output_norm.weight"] == half.view("<f4")).all(), "bf16 was not widened exactly"
print(len(names), "arrays equal")
PY
