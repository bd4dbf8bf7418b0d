# Values that tell when they are changed in place: subclasses whose mutators are followed by a record.
import functools
import sys
import threading
import weakref

from _tickfs import mirror

memory = None  # the shim's part that knows watched memory; set by the runtime

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

# Set by the runtime.
changed = None  # (variable, value, frame)
patched = None  # (variable, a piece of its text, frame)
assigned = None  # (variable, object, name of its attribute, frame, whether nobody else holds its value)
forgotten = None  # (variable)
fresh_counts = None
classes = {}
objects = {}  # id -> Held
mirrors = {}  # variable -> the mirror of its container
lock = threading.RLock()  # a mirror is changed in the order in which its container is


def base_of(value):
    for cls in type(value).__mro__:
        if cls.__name__ in MUTATORS and cls.__module__ in KNOWN and cls not in wrapped_classes:
            return cls.__name__
    return None


def variable_of(value):
    """The variable whose value this object is, if it is one that tells."""
    if type(value) in PLAIN:
        return None
    held = held_of(value)
    if held is not None and held.variable is not None:
        return held.variable
    return getattr(value, "_tickfs_", None) if type(value) in wrapped_classes else None


wrapped_classes = set()


def wrap(value, variable, fresh=False):
    """What is to be used in the place of `value`; the value itself where only rebinding can be seen. `fresh`: nobody else has it."""
    if type(value) in PLAIN:
        return value
    if variable_of(value) is not None:
        release(value)
    base = base_of(value)
    if base is None or is_of_program(type(value)):
        return watch_object(value, variable, base)
    if type(value) in wrapped_classes:
        made = memory.put(value, variable) if memory and fresh else None
        made = value if made is None else made
        made._tickfs_ = variable
        if memory and made is value:
            memory.adopt(made, variable)
        return made
    told = telling(type(value), base)
    if told is None:
        return value
    if base == "ndarray":
        made = (memory.put(value, variable) if fresh else None) if memory else None
        made = value.view(told) if made is None else made
    elif base == "array":
        made = told(value.typecode, value)
    elif base == "deque":
        made = told(value, value.maxlen)
    elif type(value).__name__ == "defaultdict":
        made = told(value.default_factory, value)
    else:
        made = told(value)
    made._tickfs_ = variable
    if memory and base in ("bytearray", "array"):
        memory.adopt(made, variable)
    return made


KNOWN = ("builtins", "collections", "array", "numpy")


def is_of_program(cls):
    """A class that the program has made of a container: its values keep their identity, and it tells itself."""
    return cls not in wrapped_classes and cls.__module__ not in KNOWN


def keeps_identity(value):
    return base_of(value) is None or is_of_program(type(value)) or type(value) in wrapped_classes and value._tickfs_ is None


def reference(value):
    try:
        return weakref.ref(value)
    except TypeError:
        return lambda: value


def release(value):
    """It tells nothing any more."""
    held = held_of(value)
    if held is not None:
        held.variable = None
    elif type(value) in wrapped_classes:
        if memory and value._tickfs_ is not None:
            memory.release(value._tickfs_)
        value._tickfs_ = None


def telling(cls, base):
    """The subclass of `cls` that tells; `None` where none can be made."""
    if cls not in classes:
        names = [name for name in MUTATORS[base].split() if hasattr(cls, name)]
        fast = FAST.get(cls, ())
        followed = following_array if base == "ndarray" else following
        space = {name: (mirrored if name in fast else followed)(getattr(cls, name)) for name in names}
        space.update(_tickfs_=None, __reduce_ex__=reducing(cls), __module__=cls.__module__, __qualname__=cls.__qualname__)
        try:
            # numpy prints the name of any subclass, where it prints `array` for its own.
            told = type("array" if base == "ndarray" else cls.__name__, (cls,), space)
            wrapped_classes.add(told)
        except TypeError:
            told = None
        classes[cls] = told
    return classes[cls]


def following(method, depth=1):
    def mutator(self, *arguments, **named):
        if memory and memory.late and self._tickfs_ is not None:
            memory.catch_up(self._tickfs_)
        try:
            return method(self, *arguments, **named)
        finally:
            if self._tickfs_ is not None:
                changed(self._tickfs_, self, sys._getframe(depth))

    mutator.__name__, mutator.__qualname__ = method.__name__, method.__qualname__
    mutator.__doc__ = method.__doc__
    return mutator


def following_array(method):
    """The same for an array, whose memory may be watched: then it is written where it is open."""
    plain = following(method, 2)
    name = method.__name__

    def mutator(self, *arguments, **named):
        variable = self._tickfs_
        twin = memory.twin_of(self, variable, name, arguments) if memory and variable is not None and not named else None
        if twin is None:
            return plain(self, *arguments, **named)
        if memory.late:
            memory.catch_up(variable)
        try:
            result = method(twin, *arguments)
        finally:
            changed(variable, self, sys._getframe(1))
        return self if result is twin else result

    mutator.__name__, mutator.__qualname__ = method.__name__, method.__qualname__
    mutator.__doc__ = method.__doc__
    return mutator


FAST = {list: mirror.ListMirror.fast, dict: mirror.DictMirror.fast, set: mirror.SetMirror.fast}


def mirrored(method):
    """Tells of the element that was changed, where the lengths of all are known."""
    name, whole = method.__name__, following(method, 2)

    def mutator(self, *arguments, **named):
        known = mirrors.get(self._tickfs_)
        if known is None or named:
            return whole(self, *arguments, **named)
        with lock:
            before = len(self)
            try:
                result = method(self, *arguments)
            except BaseException:
                if len(self) != before:
                    changed(self._tickfs_, self, sys._getframe(1))
                raise
            piece = known.change(name, self, arguments, before, result)
            if piece is None:
                changed(self._tickfs_, self, sys._getframe(1))
            elif piece:
                patched(self._tickfs_, piece, sys._getframe(1))
        return result

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


class Held:
    """What of an object is watched: the whole of it, or attributes."""

    __slots__ = ("object", "weakly", "variable", "attributes")

    def __init__(self, value):
        self.variable, self.attributes = None, {}
        try:
            self.object, self.weakly = weakref.ref(value, functools.partial(forget, id(value))), True
        except TypeError:
            self.object, self.weakly = lambda: value, False


def forget(key, _):
    # A program that has ended has no names left.
    held = objects.pop(key, None) if objects is not None else None
    for variable in held.attributes.values() if held else ():
        forgotten(variable)


def held_of(value):
    held = objects.get(id(value))
    return held if held is not None and held.object() is value else None


def hold(value):
    held = held_of(value)
    if held is None:
        held = objects[id(value)] = Held(value)
    return held


def watch_object(value, variable, base=None):
    """An object keeps its identity and its class; the class tells from now on."""
    if isinstance(value, type) or not telling_class(type(value)):
        return value
    if base is not None:
        telling_container(type(value), base)
    hold(value).variable = variable
    return value


def watch_attribute(value, name, variable):
    """Whether the attribute can be told of: by its class, or where the program's own code names it."""
    telling_class(type(value))
    attributes = hold(value).attributes
    former = attributes.get(name)
    attributes[name] = variable
    if former not in (None, variable):
        forgotten(former)
    return True


def attribute_of(value, name):
    """The variable that this attribute is, where its class does not tell of it."""
    held = held_of(value)
    return None if held is None or type(value) in telling_classes else held.attributes.get(name)


def watched_attributes():
    for held in list(objects.values()):
        value = held.object()
        for name, variable in held.attributes.items() if value is not None else ():
            yield variable, value, name


telling_containers = set()
telling_classes = {}  # class -> the __setattr__ that it had


def telling_class(cls):
    """Whether attributes that are set on objects of this class are told of."""
    if cls in telling_classes:
        return True
    if not cls.__flags__ & (1 << 9) or issubclass(cls, type):
        return False
    above = [base for base in cls.__mro__[1:] if base in telling_classes]
    set_attribute, delete_attribute = cls.__setattr__, cls.__delattr__
    telling_classes[cls] = set_attribute
    if above and "__setattr__" not in cls.__dict__ and "__delattr__" not in cls.__dict__:
        return True

    @functools.wraps(set_attribute)
    def __setattr__(self, name, item):
        fresh = sys.getrefcount(item) <= fresh_counts["set"]
        set_attribute(self, name, item)
        tell(self, name, sys._getframe(1), fresh)

    @functools.wraps(delete_attribute)
    def __delattr__(self, name):
        delete_attribute(self, name)
        tell(self, name, sys._getframe(1))

    try:
        type.__setattr__(cls, "__setattr__", __setattr__)
        type.__setattr__(cls, "__delattr__", __delattr__)
    except TypeError:
        del telling_classes[cls]
        return False
    return True


def telling_container(cls, base):
    if cls in telling_containers:
        return
    telling_containers.add(cls)
    for name in MUTATORS[base].split():
        method = getattr(cls, name, None)
        if method is not None and not getattr(method, "_tickfs_", False):
            type.__setattr__(cls, name, registered(method))


def registered(method):
    @functools.wraps(method)
    def mutator(self, *arguments, **named):
        try:
            return method(self, *arguments, **named)
        finally:
            held = held_of(self)
            if held is not None and held.variable is not None:
                changed(held.variable, self, sys._getframe(1))

    mutator._tickfs_ = True
    return mutator


def put(value, name, item):
    """Sets an attribute and tells nobody."""
    telling_classes.get(type(value), setattr)(value, name, item)


def tell(value, name, frame, fresh=False):
    held = held_of(value)
    if held is None:
        return
    if held.variable is not None:
        changed(held.variable, value, frame)
    variable = held.attributes.get(name)
    if variable is not None:
        assigned(variable, value, name, frame, fresh)


def telling_module(module, slots, store):
    """A module whose watched names other modules may set."""

    class Module(type(module)):
        def __setattr__(self, name, item):
            slot = slots.get(name)
            super().__setattr__(name, item if slot is None else store(slot, item, sys._getframe(1)))

    Module.__name__ = Module.__qualname__ = "module"
    Module.__module__ = "builtins"
    module.__class__ = Module
