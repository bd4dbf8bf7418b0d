# Values that live in watched memory: whoever writes there is seen, with or without a hook.
#
# What cannot be put there stays where it is, and is followed by hooks alone. So does what somebody else already holds: it would
# no longer be the same memory.
import os
import sys
import weakref

from _tickfs import wrap

agent = report = None
live = False  # memory can be watched
late = False  # what is written there has happened before it is seen
adopting = False  # and that of objects taken over
slots = {}  # variable -> its slot
twins = {}  # variable -> an array over the same memory, where it is open
homeless = set()  # variables whose object may be taken over when it has changed
pinned = []  # memory that must stay, because nobody says when it is no longer used

RESIZING = {"resize", "byteswap"}
# From here on a reference that is borrowed is not counted.
COUNTS = sys.version_info < (3, 14) and getattr(sys, "_is_gil_enabled", lambda: True)()


def start(native, given, say):
    """Looks what can be done here, and says so."""
    global agent, live, late, adopting, report
    agent, report = native, say
    try:
        if not hasattr(agent, "memory_start"):
            raise RuntimeError("this processor is not known")
        if given is None:
            raise RuntimeError("as asked for")
        mode, raw, kernel = agent.memory_start(given["file"], -1 if given["channel"] is None else given["channel"], given["mode"].encode()).split()
        late = mode != "signal"
        Learner().outer()
        live = True
        own_locks = "t" in getattr(sys, "abiflags", "")  # a Python without the one lock
        adopting = not (own_locks or getattr(sys.flags, "dev_mode", False) or os.environ.get("PYTHONMALLOC") or counts_allocations())
        say(memory={"mode": mode, "raw": raw, "kernel": kernel})
    except RuntimeError as error:
        say(memory={"mode": "hooks", "raw": "off", "kernel": "none", "why": str(error)})
    for name in ("file", "channel") if given is not None else ():
        if given[name] is not None:
            os.close(given[name])


def counts_allocations():
    """Whoever has put his own allocator there before us takes ours away with it when he is done."""
    import _tracemalloc

    return _tracemalloc.is_tracing()


class Learner:
    """Two frames, from which the agent learns how this Python keeps them."""

    def outer(self):
        self.inner()

    def inner(self):
        frame = sys._getframe()
        agent.memory_calibrate(frame, frame.f_back)


def probe(value, name=None):
    return sys.getrefcount(value)


FRESH = probe(bytearray(1), name="probe")  # what only the caller's expression holds


def harmless(work):
    """What goes wrong here is no business of the program's: its value stays where it is."""

    def tried(value, variable):
        try:
            return work(value, variable)
        except Exception as error:
            report(note=f"a value stays where it is, followed by hooks alone: {type(error).__name__}: {error}")
            return None

    return tried


@harmless
def put(value, variable):
    """What is made of a fresh value: the same on watched memory, or `None`."""
    if not live:
        return None
    kind = wrap.base_of(value)
    if kind == "ndarray":
        return put_array(value, variable)
    return None


def put_array(value, variable):
    numpy = sys.modules["numpy"]
    owner = value.base
    alone = owner is None or type(owner) is numpy.ndarray and owner.base is None and sys.getrefcount(owner) <= 3
    flags = value.flags
    whole = flags.c_contiguous or flags.f_contiguous
    told = type(value) if type(value) in wrap.wrapped_classes else wrap.telling(type(value), "ndarray")
    plain = type(value) is numpy.ndarray or told is wrap.telling(numpy.ndarray, "ndarray")
    if not (plain and alone and whole and flags.writeable and value.nbytes) or value.dtype.hasobject:
        return None
    slot = agent.memory_take(value.nbytes)
    if slot is None:
        return None
    order = "C" if flags.c_contiguous else "F"
    inside, outside = agent.memory_view(slot, value.nbytes, False), agent.memory_view(slot, value.nbytes, True)
    twin = numpy.ndarray(value.shape, value.dtype, outside, order=order)
    twin[...] = value
    made = numpy.ndarray.__new__(told, value.shape, value.dtype, inside, order=order)
    owner = made.base
    if type(owner) is memoryview and made.strides == value.strides:
        weakref.finalize(owner, agent.memory_free, slot).atexit = False
    else:
        pinned.append(inside)
    del inside
    if not agent.memory_close(slot, variable):
        return None
    slots[variable], twins[variable] = slot, twin
    return made


@harmless
def adopt(made, variable):
    """Takes over the memory of a `bytearray` or an `array` that tells."""
    if not adopting:
        return
    kind = wrap.base_of(made)
    words = type(made).__basicsize__ // 8
    slot = None
    if kind == "bytearray" and len(made):
        import ctypes

        place = ctypes.addressof(ctypes.c_char.from_buffer(made))
        slot = agent.memory_adopt(made, words, place, len(made), 0, variable)
    elif kind == "array" and len(made):
        place, count = made.buffer_info()
        slot = agent.memory_adopt(made, words, place, count * made.itemsize, count, variable)
    if slot is not None:
        slots[variable] = slot
        homeless.discard(variable)
    elif kind in ("bytearray", "array"):
        homeless.add(variable)


def twin_of(value, variable, name, arguments):
    """The array over the open memory, if the method can be called on it instead, and does the same."""
    twin = twins.get(variable)
    if twin is None or name in RESIZING or not all(map(is_apart, arguments)):
        return None
    same = twin.shape == value.shape and twin.strides == value.strides and twin.dtype == value.dtype
    return twin if same and value.flags.writeable else None


def is_apart(value):
    """It is no part of watched memory, whose other address would hide that."""
    if type(value) in wrap.PLAIN:
        return all(map(is_apart, value)) if type(value) is tuple else True
    numpy = sys.modules["numpy"]
    if isinstance(value, numpy.generic):
        return True
    if type(value) is numpy.ndarray and not value.dtype.hasobject:
        return not agent.memory_holds(value.__array_interface__["data"][0])
    return False


def catch_up(variable):
    """Tells of what was written unseen, before a method writes."""
    slot = slots.get(variable)
    if slot is not None:
        agent.memory_catch_up(slot)


def is_looked_at(variable):
    """The tracer looks at its memory once more when the program has ended."""
    return late and variable in slots


def changed(variable, site):
    """Records what a method has changed. `False`: the memory is not the variable's any more."""
    slot = slots.get(variable)
    if slot is None:
        return False
    if agent.memory_changed(slot, variable, site):
        return True
    del slots[variable]
    if twins.pop(variable, None) is None:
        homeless.add(variable)
    return False


def release(variable):
    """What is written there is no longer the variable's."""
    slot = slots.pop(variable, None)
    twins.pop(variable, None)
    homeless.discard(variable)
    if slot is not None:
        agent.memory_open(slot, variable)
