# What the traced program calls: `watch`, and the hooks that the rewriter has put in.
import builtins
import json
import os
import sys
import threading

from _tickfs import memory, mirror, rewrite, values, wrap

agent = None
settings = None
scopes = {}  # file -> name -> scope, from --files-scope
local = threading.local()
lock = threading.RLock()
next_variable = next_slot = next_site = 0
sites = {}
traced = {}  # variable -> Variable
entered = False
names = {}  # slot -> (the names it is one of, the name)
at_end = lambda: None


def nothing():
    return None


class Variable:
    def __init__(self, name, track_locals):
        self.name, self.track_locals = name, track_locals
        self.tells, self.value = False, nothing  # a value that tells of its changes; it may be gone


def say(**message):
    agent.message(json.dumps(message).encode())


def watch(
    value, name="var", track_threads=None, track_locals=None, track_sql=None, mutation_depth="FULL", scope=None, file_path=None
):
    """Has every change of this value recorded; gives back what behaves like it."""
    alone = memory.COUNTS and sys.getrefcount(value) <= memory.FRESH
    if scope not in (None, "local", "global", "both"):
        raise ValueError(f"watch: scope is 'local', 'global' or 'both', not {scope!r}")
    if not isinstance(name, str):
        raise TypeError("watch: name is a str")
    depth = depth_of(mutation_depth)
    tag, data = values.encode(value)
    frame = sys._getframe(1)
    file = os.path.abspath(file_path or frame.f_code.co_filename)
    if not in_scope(file):
        return value
    variable = register(name, file, track_locals, track_threads, track_sql, depth, scope)
    agent.value(variable, site_of(frame), tag, data)
    made = hold(variable, value, alone=alone)
    pending = local.__dict__.setdefault("pending", [])
    pending.append((variable, made))
    del pending[:-64]
    return made


def register(name, file, track_locals=None, track_threads=None, track_sql=None, depth=None, scope=None):
    global next_variable
    flag = lambda said, default: settings[default] if said is None else bool(said)
    with lock:
        next_variable += 1
        variable = next_variable
    if variable > 0xFFFF_FFF0:
        raise RuntimeError("watch: no more variables can be registered")
    traced[variable] = Variable(name, flag(track_locals, "track_locals"))
    declared = dict(id=variable, name=name, file=file, scope=scope or scopes.get(file, {}).get(name), depth=depth)
    declared.update(threads=flag(track_threads, "track_threads"), sql=flag(track_sql, "track_sql"))
    say(variable=declared)
    return variable


def depth_of(said):
    if said == "FULL":
        return None
    if isinstance(said, int) and not isinstance(said, bool) and said >= 0:
        return said
    raise ValueError(f"watch: mutation_depth is 'FULL' or a number of bytes, not {said!r}")


def in_scope(file):
    return not settings["globs"] or any(matches(file, pattern) for pattern in settings["globs"])


def matches(file, pattern):
    import re

    parts = re.split(r"(\*\*/|\*\*|\*|\?)", pattern)
    spelled = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    pattern = "".join(spelled.get(part) or re.escape(part) for part in parts)
    relative = os.path.relpath(file, settings["directory"])
    return any(re.fullmatch(pattern, name) for name in (relative, file))


def hold(variable, value, fresh=True, alone=None):
    """Makes the value tell of its changes, and the variable's former value tell no more.

    A value that others hold too is not replaced by one that tells: they would not see its changes.
    """
    held = traced[variable]
    wrap.mirrors.pop(variable, None)
    former = held.value()
    if former is not None and former is not value:
        wrap.release(former)
    made = wrap.wrap(value, variable, fresh if alone is None else alone) if fresh or wrap.keeps_identity(value) else value
    tells = wrap.variable_of(made) == variable
    if tells != held.tells:
        agent.held(variable, tells)
    held.tells, held.value = tells, wrap.reference(made) if tells else nothing
    return made


def claim(value):
    """The variable that `watch` has just made for this value, in this thread."""
    pending = local.__dict__.get("pending", ())
    for place in range(len(pending) - 1, -1, -1):
        if pending[place][1] is value:
            return pending.pop(place)[0]
    return None


# The hooks


def bind(key, value, declared=None):
    fresh = sys.getrefcount(value) <= fresh_counts["bind"]
    slot, site = rewrite.parts_of_key(key)
    variable = claim(value)
    if variable is not None:
        agent.bind(slot, variable)
        return value
    variable = agent.bound(slot)
    if declared and not variable:
        variable = register(declared, sys._getframe(1).f_code.co_filename, True)
        agent.bind(slot, variable)
    return slow(variable, site, value, fresh) if variable else value


class Activation(int):
    """The number of a variable of a function, in its hidden variable: it goes when the function's call is over."""

    __slots__ = ()

    def __del__(self):
        held = traced.get(self) if traced is not None else None
        # A value that tells may live on.
        if held is not None and not held.tells:
            forgotten(self)


def declared(variable, name):
    """The hidden variable of a name that is watched without a call of `watch`."""
    return variable or Activation(register(name, sys._getframe(1).f_code.co_filename, True))


def take(variable, site, value):
    """The hidden variable's new value, after a name of a function was assigned."""
    fresh = claim(value)
    if fresh is None:
        agent.local(variable, site, value)
        return variable
    if traced[fresh].track_locals:
        return Activation(fresh)
    wrap.release(value)
    say(untraced=fresh)
    forgotten(fresh)
    return None


def second(_, value):
    return value


def attribute(site, holder, name):
    """An attribute was assigned what `watch` may have given back."""
    value = value_of(holder, name)
    variable = claim(value)
    if variable is None:
        told(site, holder, name)
    elif wrap.watch_attribute(holder, name, variable):
        held = traced[variable].value()
        if held is not None and held is not value:
            setattr(holder, name, held)


def told(site, holder, name):
    """An attribute of that name was assigned, by code of the program's own."""
    variable = wrap.attribute_of(holder, name)
    if variable is not None:
        stored(variable, site, holder, name)


def stored(variable, site, holder, name, fresh=False):
    value = value_of(holder, name)
    made = slow(variable, site, value, fresh)
    if made is not value:
        wrap.put(holder, name, made)


def assigned(variable, holder, name, frame, fresh):
    stored(variable, site_of(frame), holder, name, fresh)


def value_of(holder, name):
    try:
        return getattr(holder, name)
    except Exception:
        return None  # it was deleted, or its class does not give it back


def class_made(cls, *slots):
    """The names of a class body are attributes of the class from then on."""
    for name, slot in slots:
        variable = agent.bound(slot)
        if variable:
            wrap.watch_attribute(cls, name, variable)


def gone(variable, slot, site):
    if variable is None:
        variable = agent.bound(slot)
        agent.bind(slot, 0)
    if variable:
        hold(variable, None)
        agent.value(variable, site, values.GONE, b"")


# How often a value is referred to where it was just made and nobody else holds it.
fresh_counts = {"slow": 0, "bind": 0, "set": 0}
counts = None  # while they are found out


def calibrate():
    """These numbers are those of the Python that runs. From 3.14 on they no longer tell."""
    if sys.version_info >= (3, 14):
        return
    global counts
    counts = {}

    class Sample:
        def __setattr__(self, name, value):
            counts["set"] = sys.getrefcount(value)

    def bind(key, value, declared=None):
        counts["bind"] = sys.getrefcount(value)

    exec("local(1, 0, [])\nbind(0, [])\nsample.x = []", {"local": agent.local, "bind": bind, "sample": Sample()})
    fresh_counts.update(counts)
    counts = None


def slow(variable, site, value, fresh=None):
    """A value that the agent does not encode itself."""
    if fresh is None:
        fresh = sys.getrefcount(value) <= fresh_counts["slow"]
        if counts is not None:
            counts["slow"] = sys.getrefcount(value)
            return value
    if wrap.variable_of(value) == variable:
        return value
    try:
        encoded = values.encode(value)
    except ValueError as error:
        say(note=f"{traced[variable].name}: {error}; this change is not recorded")
        return value
    made = hold(variable, value, fresh)
    agent.value(variable, site, *encoded)
    return made


def changed(variable, value, frame):
    site = site_of(frame)
    if memory.changed(variable, site):
        return
    known = mirror.of(value) if type(value).__base__ in wrap.FAST else None
    if known is not None and len(known.text) <= values.LIMIT:
        wrap.mirrors[variable] = known
        encoded = values.TEXT, known.text
        del known.text
    else:
        wrap.mirrors.pop(variable, None)
        encoded = None
    try:
        agent.value(variable, site, *encoded or values.encode(value))
        if variable in memory.homeless:
            memory.adopt(value, variable)
    except ValueError as error:
        say(note=f"{traced[variable].name}: {error}; this change is not recorded")


def patched(variable, piece, frame):
    agent.patch(variable, site_of(frame), mirror.patch(*piece))


def forgotten(variable):
    """Its object is no more."""
    memory.release(variable)
    if traced.pop(variable, None) is not None:
        say(ended=int(variable))


def main_entered():
    global entered
    entered = True


# Sites


def site_of(frame):
    """The number of the place where a frame stands."""
    code = frame.f_code
    key = (id(code), frame.f_lasti)
    known = sites.get(key)
    if known is None:
        name = getattr(code, "co_qualname", code.co_name).replace(".<locals>", "")
        number = new_site_number()
        say(sites=[code.co_filename, [[number, name, frame.f_lineno]]])
        known = sites[key] = (number, code)  # the code is kept, so that its id stays its own
    return known[0]


def new_site_number():
    global next_site
    with lock:
        next_site += 1
        return next_site


def new_slot():
    global next_slot
    with lock:
        next_slot += 1
        return next_slot


def compiled(source, path):
    """Code with hooks, and what was found in it. What is no Python at all raises as ever."""
    import ast

    tree = compile(source, path, "exec", ast.PyCF_ONLY_AST, dont_inherit=True)
    tree, survey = rewritten(tree, path)
    return compile(tree, path, "exec", dont_inherit=True), survey


def rewritten(tree, path):
    """The tree, changed to have hooks."""
    found = []

    def new_site(function, line):
        found.append([new_site_number(), function, line])
        return found[-1][0]

    tree, survey = rewrite.rewrite(tree, declared_in(path), new_slot, new_site)
    for start in range(0, len(found), 500):
        say(sites=[path, found[start : start + 500]])
    return tree, survey


def declared_in(path):
    """The names that are watched without a call, and their scopes."""
    return scopes.get(os.path.abspath(path), {}) if settings["track_declared"] else {}


def name_slots(space, survey):
    """Says whose names the slots of a module are."""
    held = next(iter(survey.scopes.values())).watched
    names.update({slot: (space, name) for name, slot in held.items() if slot})
    return {name: slot for name, slot in held.items() if slot}


def set_name(slot, value, frame):
    return agent.store(rewrite.key_of(slot, site_of(frame)), value)


def finish():
    """What was changed where no hook could see it is recorded now, as changed by nobody known."""
    last = {variable: held.value() for variable, held in list(traced.items())}
    last = {variable: value for variable, value in last.items() if value is not None and not memory.is_looked_at(variable)}
    for slot, (space, name) in list(names.items()):
        variable = agent.bound(slot)
        if variable and name in space and not memory.is_looked_at(variable):
            last.setdefault(variable, space[name])
    for variable, holder, name in wrap.watched_attributes():
        last.setdefault(variable, value_of(holder, name))
    for variable, value in last.items():
        try:
            agent.value(variable, 0, *values.encode(value))
        except Exception as error:
            say(note=f"{traced[variable].name}: its last value could not be read: {error}")
    at_end()


def install(native, given):
    global agent, settings, scopes
    agent, settings, scopes = native, given, given["scopes"]
    wrap.patched = patched
    wrap.changed, wrap.assigned, wrap.forgotten, wrap.fresh_counts = changed, assigned, forgotten, fresh_counts
    wrap.memory = memory
    builtins.watch = watch
    calibrate()
    hooks = (agent.store, bind, agent.local, take, declared, second, gone, main_entered, attribute, told, class_made)
    for name, hook in zip(rewrite.HOOKS, hooks):
        setattr(builtins, name, hook)
