# How a value is spelled in bytes: what deltas compare, and what a version shows.
import struct
import types

NONE, BOOL, INT, FLOAT, STR, BYTES, TEXT, BUFFER, GONE = 1, 2, 3, 4, 5, 6, 7, 8, 11
LIMIT = 16 * 1024 * 1024
DEPTH = 6
# What a program is made of is told by its name; its attributes are the whole program.
NAMED = (type, types.ModuleType, types.FunctionType, types.MethodType, types.FrameType, types.TracebackType)
PLAIN = (int, float, str, bytes, bool, type(None), complex)


def encode(value):
    """The tag and the bytes of a value; raises ValueError over the limit."""
    tag, data = spelled(value)
    if len(data) > LIMIT:
        raise ValueError(f"a value of {len(data)} bytes cannot be watched: the limit is {LIMIT} bytes")
    return tag, data


def spelled(value):
    if value is None:
        return NONE, b""
    if isinstance(value, bool):
        return BOOL, bytes([value])
    if isinstance(value, int):
        size = max(8, (value.bit_length() + 8) // 8)
        return INT, int(value).to_bytes(size + -size % 8, "little", signed=True)
    if isinstance(value, float):
        return FLOAT, struct.pack("<d", value)
    if isinstance(value, str):
        return STR, str.encode(value, "utf-8", "surrogatepass")
    if isinstance(value, bytes):
        return BYTES, bytes(value)
    if is_buffer(value):
        return BUFFER, buffer_bytes(value)
    return TEXT, text(value).encode("utf-8", "surrogatepass")


def is_buffer(value):
    if isinstance(value, (bytearray, memoryview)):
        return True
    return type(value).__module__ in ("array", "numpy") and hasattr(value, "tobytes")


def buffer_bytes(value):
    return bytes(value) if isinstance(value, bytearray) else value.tobytes()


def text(value, depth=DEPTH, above=()):
    """A container in one line. It runs no code of the program: what it does not know it names by its class."""
    if type(value) in PLAIN:
        return repr(value)
    if id(value) in above:
        return "..."
    if depth == 0:
        return "…"
    above += (id(value),)
    inner = lambda item: text(item, depth - 1, above)
    if isinstance(value, list):
        return "[" + ", ".join([inner(item) for item in list.__iter__(value)]) + "]"
    if isinstance(value, tuple):
        items = [inner(item) for item in tuple.__iter__(value)]
        return "(" + ", ".join(items) + ("," if len(items) == 1 else "") + ")"
    if isinstance(value, dict):
        return "{" + ", ".join([f"{inner(key)}: {inner(item)}" for key, item in dict.items(value)]) + "}"
    if isinstance(value, (set, frozenset)):
        return "{" + ", ".join(sorted([inner(item) for item in value])) + "}" if len(value) else "{}"
    if is_buffer(value):
        return repr(buffer_bytes(value))
    if type(value).__name__ == "deque":
        return "deque([" + ", ".join([inner(item) for item in value]) + "])"
    for plain in PLAIN:
        if isinstance(value, plain):
            return plain.__repr__(value)
    return f"<{type(value).__qualname__}{attributes(value, inner)}>"


def attributes(value, inner):
    try:
        held = object.__getattribute__(value, "__dict__")
    except AttributeError:
        held = {}
    if isinstance(value, NAMED) or not isinstance(held, dict):
        return ""
    slots = [name for cls in type(value).__mro__ for name in slots_of(cls)]
    found = dict(held)
    for name in slots:
        try:
            found[name] = object.__getattribute__(value, name)
        except AttributeError:
            pass
    return "".join([f" {name}={inner(item)}" for name, item in found.items()])


def slots_of(cls):
    slots = cls.__dict__.get("__slots__", ())
    slots = (slots,) if isinstance(slots, str) else tuple(slots)
    return [name for name in slots if name not in ("__dict__", "__weakref__")]
