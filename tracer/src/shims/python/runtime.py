# What the traced program calls: `watch`, and the hooks that the rewriter has put in.
import builtins
import json
import os
import sys
import threading

from _tickfs import rewrite, values, wrap

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


class Variable:
    def __init__(self, name, track_locals):
        self.name, self.track_locals, self.value = name, track_locals, None


def say(**message):
    agent.message(json.dumps(message).encode())


def watch(
    value, name="var", track_threads=None, track_locals=None, track_sql=None, mutation_depth="FULL", scope=None, file_path=None
):
    """Has every change of this value recorded; gives back what behaves like it."""
    global next_variable
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
    agent.value(variable, site_of(frame), tag, data)
    made = hold(variable, value)
    pending = local.__dict__.setdefault("pending", [])
    pending.append((variable, made))
    del pending[:-64]
    return made


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


def hold(variable, value):
    """Makes the value tell of its changes, and the variable's former value tell no more."""
    held = traced[variable]
    if held.value is not None and held.value is not value:
        wrap.release(held.value)
    made = wrap.wrap(value, variable)
    tells = wrap.variable_of(made) == variable
    if tells != (held.value is not None):
        agent.held(variable, tells)
    held.value = made if tells else None
    return made


def claim(value):
    """The variable that `watch` has just made for this value, in this thread."""
    pending = local.__dict__.get("pending", ())
    for place in range(len(pending) - 1, -1, -1):
        if pending[place][1] is value:
            return pending.pop(place)[0]
    return None


# The hooks


def bind(key, value):
    variable = claim(value)
    if variable is None:
        return agent.store(key, value)
    agent.bind(key >> 32, variable)
    return value


def take(variable, site, value):
    """The hidden variable's new value, after a name of a function was assigned."""
    fresh = claim(value)
    if fresh is None:
        agent.local(variable, site, value)
        return variable
    if traced[fresh].track_locals:
        return fresh
    wrap.release(value)
    say(untraced=fresh)
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
        held = traced[variable].value
        if held is not None and held is not value:
            setattr(holder, name, held)


def told(site, holder, name):
    """An attribute of that name was assigned, by code of the program's own."""
    variable = wrap.attribute_of(holder, name)
    if variable is not None:
        stored(variable, site, holder, name)


def stored(variable, site, holder, name):
    value = value_of(holder, name)
    made = agent.local(variable, site, value)
    if made is not value:
        wrap.put(holder, name, made)


def assigned(variable, holder, name, frame):
    stored(variable, site_of(frame), holder, name)


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


def slow(variable, site, value):
    """A value that the agent does not encode itself."""
    if wrap.variable_of(value) == variable:
        return value
    try:
        encoded = values.encode(value)
    except ValueError as error:
        say(note=f"{traced[variable].name}: {error}; this change is not recorded")
        return value
    made = hold(variable, value)
    agent.value(variable, site, *encoded)
    return made


def changed(variable, value, frame):
    try:
        agent.value(variable, site_of(frame), *values.encode(value))
    except ValueError as error:
        say(note=f"{traced[variable].name}: {error}; this change is not recorded")


def forgotten(variable):
    """Its object is no more."""
    if traced.pop(variable, None) is not None:
        say(ended=variable)


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
    found = []

    def new_site(function, line):
        found.append([new_site_number(), function, line])
        return found[-1][0]

    tree, survey = rewrite.rewrite(tree, new_slot, new_site)
    tell_sites(path, found)
    return compile(tree, path, "exec", dont_inherit=True), survey


def tell_sites(path, found):
    for start in range(0, len(found), 500):
        say(sites=[path, found[start : start + 500]])


def name_slots(space, survey):
    """Says whose names the slots of a module are."""
    held = next(iter(survey.scopes.values())).watched
    names.update({slot: (space, name) for name, slot in held.items() if slot})
    return {name: slot for name, slot in held.items() if slot}


def set_name(slot, value, frame):
    return agent.store(slot << 32 | site_of(frame), value)


def finish():
    """What was changed where no hook could see it is recorded now, as changed by nobody known."""
    last = {variable: held.value for variable, held in list(traced.items()) if held.value is not None}
    for slot, (space, name) in list(names.items()):
        variable = agent.bound(slot)
        if variable and name in space:
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
    wrap.changed, wrap.assigned, wrap.forgotten = changed, assigned, forgotten
    builtins.watch = watch
    hooks = (agent.store, bind, agent.local, take, second, gone, main_entered, attribute, told, class_made)
    for name, hook in zip(rewrite.HOOKS, hooks):
        setattr(builtins, name, hook)
