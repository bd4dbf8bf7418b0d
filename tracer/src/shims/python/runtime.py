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
    for start in range(0, len(found), 500):
        say(sites=[path, found[start : start + 500]])
    return compile(tree, path, "exec", dont_inherit=True), survey


def finish():
    """What was changed where no hook could see it is recorded now, as changed by nobody known."""
    for variable, held in list(traced.items()):
        if held.value is not None:
            try:
                agent.value(variable, 0, *values.encode(held.value))
            except Exception as error:
                say(note=f"{held.name}: its last value could not be read: {error}")
    at_end()


def install(native, given):
    global agent, settings, scopes
    agent, settings, scopes = native, given, given["scopes"]
    wrap.changed = changed
    builtins.watch = watch
    hooks = {
        rewrite.STORE: agent.store,
        rewrite.LOCAL: agent.local,
        rewrite.BIND: bind,
        rewrite.TAKE: take,
        rewrite.GONE: gone,
        rewrite.ENTERED: main_entered,
    }
    for name, hook in hooks.items():
        setattr(builtins, name, hook)
