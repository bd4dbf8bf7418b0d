# Values that tell when they are changed in place: subclasses whose mutators are followed by a record.
import sys

MUTATORS = {
    "list": "append extend insert remove pop clear sort reverse __setitem__ __delitem__ __iadd__ __imul__",
    "dict": "pop popitem clear update setdefault __setitem__ __delitem__ __ior__ move_to_end subtract",
    "set": "add remove discard pop clear update intersection_update difference_update symmetric_difference_update"
    " __ior__ __iand__ __isub__ __ixor__",
    "bytearray": "append extend insert remove pop clear reverse __setitem__ __delitem__ __iadd__ __imul__",
    "deque": "append appendleft extend extendleft pop popleft insert remove rotate reverse clear"
    " __setitem__ __delitem__ __iadd__ __imul__",
    "array": "append extend insert remove pop reverse byteswap frombytes fromlist fromfile fromunicode"
    " __setitem__ __delitem__ __iadd__ __imul__",
    "ndarray": "fill sort partition put itemset resize setfield byteswap __setitem__ __iadd__ __isub__ __imul__"
    " __itruediv__ __ifloordiv__ __imod__ __ipow__ __ilshift__ __irshift__ __iand__ __ior__ __ixor__ __imatmul__",
}
PLAIN = (int, float, str, bytes, bool, type(None), complex, tuple, frozenset, range, slice, type(Ellipsis))

changed = None  # changed(variable, value, frame): set by the runtime
classes = {}
objects = {}  # id -> (variable, object) of watched objects of the program's own classes


def base_of(value):
    for cls in type(value).__mro__:
        if cls.__name__ in MUTATORS and cls.__module__ in ("builtins", "collections", "array", "numpy"):
            return cls.__name__
    return None


def variable_of(value):
    """The variable whose value this object is, if it is one that tells."""
    if type(value) in PLAIN:
        return None
    held = objects.get(id(value))
    if held is not None and held[1] is value:
        return held[0]
    return getattr(value, "_tickfs_", None) if type(value) in wrapped_classes else None


wrapped_classes = set()


def wrap(value, variable):
    """What is to be used in the place of `value`; the value itself where only rebinding can be seen."""
    if type(value) in PLAIN:
        return value
    if variable_of(value) is not None:
        release(value)
    base = base_of(value)
    if base is None:
        return watch_object(value, variable)
    if type(value) in wrapped_classes:
        value._tickfs_ = variable
        return value
    told = telling(type(value), base)
    if told is None:
        return value
    if base == "ndarray":
        made = value.view(told)
    elif base == "array":
        made = told(value.typecode, value)
    elif base == "deque":
        made = told(value, value.maxlen)
    elif type(value).__name__ == "defaultdict":
        made = told(value.default_factory, value)
    else:
        made = told(value)
    made._tickfs_ = variable
    return made


def release(value):
    """It tells nothing any more."""
    if id(value) in objects:
        del objects[id(value)]
    elif type(value) in wrapped_classes:
        value._tickfs_ = None


def telling(cls, base):
    """The subclass of `cls` that tells; `None` where none can be made."""
    if cls not in classes:
        names = [name for name in MUTATORS[base].split() if hasattr(cls, name)]
        space = {name: following(getattr(cls, name)) for name in names}
        space.update(_tickfs_=None, __reduce_ex__=reducing(cls), __module__=cls.__module__, __qualname__=cls.__qualname__)
        try:
            # numpy prints the name of any subclass, where it prints `array` for its own.
            told = type("array" if base == "ndarray" else cls.__name__, (cls,), space)
            wrapped_classes.add(told)
        except TypeError:
            told = None
        classes[cls] = told
    return classes[cls]


def following(method):
    def mutator(self, *arguments, **named):
        try:
            return method(self, *arguments, **named)
        finally:
            if self._tickfs_ is not None:
                changed(self._tickfs_, self, sys._getframe(1))

    mutator.__name__, mutator.__qualname__ = method.__name__, method.__qualname__
    mutator.__doc__ = method.__doc__
    return mutator


def reducing(cls):
    """A copy, and what is unpickled, is what it would be untraced."""

    def __reduce_ex__(self, protocol):
        reduced = list(cls.__reduce_ex__(self, protocol))
        told = type(self)
        reduced[0] = cls if reduced[0] is told else reduced[0]
        reduced[1] = tuple(cls if part is told else part for part in reduced[1])
        if len(reduced) > 2 and isinstance(reduced[2], dict):
            reduced[2] = {name: part for name, part in reduced[2].items() if name != "_tickfs_"} or None
        return tuple(reduced)

    return __reduce_ex__


def watch_object(value, variable):
    """An object of a class of the program keeps its identity, and takes on a class that tells."""
    cls = type(value)
    if not cls.__flags__ & (1 << 9) or isinstance(value, type):  # not made by a class statement
        return value
    if cls not in wrapped_classes:
        if cls not in classes:

            def __setattr__(self, name, item):
                cls.__setattr__(self, name, item)
                told(self, sys._getframe(1))

            def __delattr__(self, name):
                cls.__delattr__(self, name)
                told(self, sys._getframe(1))

            space = {"__setattr__": __setattr__, "__delattr__": __delattr__, "__reduce_ex__": reducing(cls)}
            space.update(__slots__=(), __module__=cls.__module__, __qualname__=cls.__qualname__, __doc__=cls.__doc__)
            try:
                classes[cls] = type(cls)(cls.__name__, (cls,), space)
                wrapped_classes.add(classes[cls])
            except TypeError:
                classes[cls] = None
        try:
            value.__class__ = classes[cls] or cls
        except TypeError:
            return value
    objects[id(value)] = (variable, value)
    return value


def told(value, frame):
    held = objects.get(id(value))
    if held is not None and held[1] is value:
        changed(held[0], value, frame)
