import random
import numpy as np

dice = random.Random(7)
kinds = ["u1", "i2", "i4", "i8", "f2", "f4", "f8", "c8", "c16", "?", "M8[s]", "S5", "U3", [("a", "i4"), ("b", "f8")]]
after = open("after", "wb")


def slices(raw):
    for turn in range(40):
        low = dice.randrange(len(raw))
        high = dice.randrange(low, len(raw) + 1)
        raw[low:high] = dice.randrange(256)
        step = dice.choice([1, 2, 3, 5, -1])
        part = raw[low:high:step] if step > 0 else raw[high:low:step]
        part[...] = np.arange(len(part)).astype("u1")
        if dice.random() < 0.3:
            raw[10:200] = raw[5:195]
        if dice.random() < 0.3:
            raw[5:195] = raw[10:200]


def numbers(a, v):
    kind = v.dtype.type
    for ufunc in (np.add, np.multiply, np.subtract, np.maximum):
        ufunc(v, v[::-1].copy(), out=v)
        ufunc(v[::2], v[1::2], out=v[::2])
    v += kind(1)
    v.sort()
    np.cumsum(v, out=v)
    np.clip(v, 1, 100, out=v)
    v[v > 50] = 3
    np.put(v, [1, 2, 3], [7, 8, 9])
    np.copyto(v, kind(5), where=np.arange(300) % 3 == 0)
    v[np.array([1, 5, 9])] += kind(2)
    np.add.at(v, [0, 0, 1], kind(1))
    a += kind(1)
    a[3:7] = 2
    a.fill(4)
    a[::2] *= kind(3)
    a.sort()
    a[1:] = a[:-1]
    table = v.reshape(20, 15)
    table.T[...] = np.arange(300).reshape(15, 20)
    table[:, ::3] = 1
    table[5] = table[6]
    if v.dtype.kind == "f" and v.dtype.itemsize > 2:
        np.sqrt(np.abs(v), out=v)
        np.exp(-np.abs(v), out=v)
        np.floor(v * 9, out=v)
        np.dot(np.ones((20, 20), v.dtype), np.ones((20, 15), v.dtype), out=table)
    v.byteswap(inplace=True)
    np.random.RandomState(3).shuffle(v)


for number, kind in enumerate(kinds):
    a = watch(np.zeros(300, dtype=kind), name=f"a{number}")
    v = np.asarray(a)
    slices(v.view("u1"))
    with np.errstate(all="ignore"):
        if v.dtype.kind in "iuf":
            numbers(a, v)
        elif v.dtype.kind == "c":
            v *= 1j
            np.conjugate(v, out=v)
        elif v.dtype.kind == "?":
            np.logical_not(v, out=v)
    print(number, a.tobytes().hex())
    after.write(a.nbytes.to_bytes(8, "little") + a.tobytes())
