"""Coefficients of the polynomials in kernels/math.c and kernels/exp_poly.h.

Remez exchange in 60 digits on the relative error of the whole function; coefficients are rounded to
float or double afterwards. Prints C hexadecimal constants, lowest power first, and the error of the
rounded polynomial. Needs: pip install mpmath.
"""
import mpmath as mp
import numpy as np

mp.mp.dps = 60


def remez(f, basis, rest, lo, hi):
    """Minimise max |(rest(x) + sum c_i basis_i(x)) / f(x) - 1| over [lo, hi]."""
    n = len(basis)
    mid, half = (mp.mpf(lo) + hi) / 2, (mp.mpf(hi) - lo) / 2
    pts = [mid - half * mp.cos(mp.pi * i / n) for i in range(n + 1)]
    for _ in range(12):
        a = mp.matrix(n + 1, n + 1)
        b = mp.matrix(n + 1, 1)
        for i, x in enumerate(pts):
            fx = f(x)
            for j, g in enumerate(basis):
                a[i, j] = g(x) / fx
            a[i, n] = (-1) ** i
            b[i] = 1 - rest(x) / fx
        c = list(mp.lu_solve(a, b))[:n]
        grid = [mid - half * mp.cos(mp.pi * i / 800) for i in range(801)]
        err = [(rest(x) + sum(k * g(x) for k, g in zip(c, basis))) / f(x) - 1 for x in grid]
        runs, best = [], 0
        for i in range(1, 801):
            if (err[i] > 0) != (err[best] > 0):
                runs.append(grid[best])
                best = i
            elif abs(err[i]) > abs(err[best]):
                best = i
        runs.append(grid[best])
        if len(runs) != n + 1:
            break
        pts = runs
    return c, max(abs(e) for e in err)


def show(name, f, powers, rest, lo, hi, single=False):
    basis = [lambda x, p=p: x ** p for p in powers]
    c, err = remez(f, basis, rest, lo, hi)
    r = [float(np.float32(float(k))) if single else float(k) for k in c]
    worst = max(
        abs((rest(x) + sum(k * g(x) for k, g in zip(r, basis))) / f(x) - 1)
        for x in [mp.mpf(lo) + (mp.mpf(hi) - lo) * (i + mp.mpf("0.37")) / 997 for i in range(996)]
    )
    exact, rounded = (float(mp.log(e, 2)) for e in (err, worst))
    print(f"{name}: exact coefficients 2^{exact:.1f}, rounded 2^{rounded:.1f}")
    for p, k in zip(powers, r):
        print(f"  x^{p}: {k.hex()}")


h = mp.log(2) / 2 * mp.mpf("1.0001")
show("expf", mp.exp, range(2, 7), lambda x: 1 + x, -h, h, single=True)
show("tanhf", mp.tanh, range(3, 12, 2), lambda x: x, mp.mpf("1e-6"), mp.mpf("0.6"), single=True)
show("exp", mp.exp, range(2, 12), lambda x: 1 + x, -h, h)
s = (mp.sqrt(2) - 1) / (mp.sqrt(2) + 1) * mp.mpf("1.0001")
show("log: 2 atanh(s), s = f/(2+f)", lambda x: 2 * mp.atanh(x), range(5, 21, 2),
     lambda x: 2 * x + 2 * x ** 3 / 3, mp.mpf("1e-6"), s)
q = mp.pi / 4 * mp.mpf("1.0001")
show("sin", mp.sin, range(3, 15, 2), lambda x: x, mp.mpf("1e-9"), q)
show("cos", mp.cos, range(4, 16, 2), lambda x: 1 - x * x / 2, mp.mpf("1e-9"), q)


def parts(name, v, bits):
    out = []
    for b in bits:
        e = int(mp.floor(mp.log(abs(v), 2)))
        k = mp.nint(v * mp.mpf(2) ** (b - 1 - e)) * mp.mpf(2) ** (e - b + 1)
        out.append(float(k))
        v -= k
    print(name, [k.hex() for k in out])




def tail(u):
    t = (1 / u - 1) / mp.mpf("0.3")
    return mp.exp(t * t / 2) * mp.erfc(t / mp.sqrt(2)) / 2


show("gelu Q", tail, range(0, 9), lambda x: 0, 1 / (1 + mp.mpf("0.3") * 13), mp.mpf(1),
     single=True)
c0 = mp.sqrt(8 / mp.pi)
for name, v in (("C0", c0), ("C1", c0 * mp.mpf("0.044715")), ("3 C1", 3 * c0 * mp.mpf("0.044715")),
                ("1/sqrt(2 pi)", 1 / mp.sqrt(2 * mp.pi))):
    print("gelu", name, float(np.float32(float(v))).hex())

parts("ln2 float", mp.log(2), [15, 24])
parts("ln2 double", mp.log(2), [40, 53])
parts("pi/2", mp.pi / 2, [53, 53, 53])
parts("log2(e)", 1 / mp.log(2), [53])
parts("2/pi", 2 / mp.pi, [53])
