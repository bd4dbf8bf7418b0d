# Loads the agent, then runs the program as `python3 SCRIPT` would.
import atexit
import importlib.machinery
import importlib.util
import os
import sys

from _tickfs import memory, runtime, tests, wrap


class Loader(importlib.machinery.SourceFileLoader):
    """Loads a module with hooks. Its bytecode is never cached: an untraced run must not find it."""

    def get_code(self, fullname):
        path = self.get_filename(fullname)
        try:
            code, survey = runtime.compiled(self.get_data(path), path)
        except SyntaxError:
            return super().get_code(fullname)
        module = sys.modules.get(fullname)
        slots = runtime.name_slots(module.__dict__, survey) if module else {}
        if slots:
            wrap.telling_module(module, slots, runtime.set_name)
        return code


class Finder:
    """Finds modules of the program that call `watch`."""

    def __init__(self, directory):
        self.directory = os.path.join(directory, "")

    def find_spec(self, name, path=None, target=None):
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        if spec and type(spec.loader) is importlib.machinery.SourceFileLoader and self.is_ours(spec.origin):
            spec.loader = Loader(name, spec.origin)
            spec.cached = None
        return spec

    def is_ours(self, path):
        path = os.path.abspath(path)
        # What belongs to Python itself, or is installed, is not the program's own.
        installed = f"{os.sep}site-packages{os.sep}" in path or f"{os.sep}dist-packages{os.sep}" in path
        if installed or not path.startswith(self.directory) or path.startswith(STANDARD_LIBRARY):
            return False
        if runtime.declared_in(path):
            return True
        try:
            with open(path, "rb") as file:
                return b"watch(" in file.read()
        except OSError:
            return False


class Shipped:
    """Finds the module `tickfs`, where it is not installed."""

    def find_spec(self, name, path=None, target=None):
        return importlib.machinery.ModuleSpec(name, self, origin="tickfs watch") if name == "tickfs" else None

    def create_module(self, spec):
        return None

    def exec_module(self, module):
        module.watch, module.traced = runtime.watch, True


STANDARD_LIBRARY = os.path.join(os.path.dirname(os.path.abspath(os.__file__)), "")


def load_agent(descriptor):
    path = f"/proc/self/fd/{descriptor}"
    loader = importlib.machinery.ExtensionFileLoader("_tickfs_agent", path)
    spec = importlib.util.spec_from_file_location("_tickfs_agent", path, loader=loader)
    agent = importlib.util.module_from_spec(spec)
    os.close(descriptor)
    return agent


def start(settings, ring, bell, descriptor, arguments):
    restore_environment(settings["memory"])
    path = arguments[0] if sys.version_info < (3, 9) else os.path.abspath(arguments[0])
    agent = load_agent(descriptor)
    agent.attach(ring, bell, runtime.slow)
    runtime.install(agent, settings)
    runtime.say(attached=os.getpid())
    memory.start(agent, settings["memory"], runtime.say)
    sys.argv[:] = arguments
    directory = os.path.dirname(os.path.realpath(path))
    if not getattr(sys.flags, "safe_path", False):
        sys.path[0:1] = [directory]
    working = os.path.join(settings["directory"], "")
    sys.meta_path.insert(0, Finder(working if directory.startswith(working) else directory))
    sys.meta_path.append(Shipped())
    tests.install()
    if settings["track_sql"]:
        from _tickfs import sql

        sql.install(runtime)
    atexit.register(runtime.finish)  # the first to be registered is the last to run
    run(path)


def restore_environment(given):
    """What was set to load the library is no business of the program's children."""
    if given is None:
        return
    if given["library"] is None:
        return
    os.close(given["library"])
    if given["before"] is None:
        os.environ.pop("LD_PRELOAD", None)
    else:
        os.environ["LD_PRELOAD"] = given["before"]


def run(path):
    main = sys.modules["__main__"]
    space = main.__dict__
    for name in [name for name in space if name != "__builtins__"]:
        del space[name]
    space.update(__name__="__main__", __doc__=None, __package__=None, __spec__=None, __file__=path, __cached__=None)
    space["__loader__"] = importlib.machinery.SourceFileLoader("__main__", path)
    try:
        with open(path, "rb") as file:
            code, survey = runtime.compiled(file.read(), path)
        runtime.name_slots(space, survey)
        space["__annotations__"] = {}
        exec(code, space)
        entry = space.get("main")
        if not callable(entry):
            runtime.say(no_main={})
        elif not runtime.entered and not survey.calls_main:
            call(entry)
    except SystemExit:
        raise
    except BaseException as error:
        end_with(error)


def call(entry):
    import inspect

    if inspect.iscoroutinefunction(entry):
        import asyncio

        asyncio.run(entry())
    else:
        entry()


def end_with(error):
    """Prints the traceback that an untraced run prints, and ends as it would."""
    traceback = error.__traceback__
    while traceback and traceback.tb_frame.f_code.co_filename.startswith("<tickfs>/"):
        traceback = traceback.tb_next
    error.__traceback__ = traceback
    sys.excepthook(type(error), error, traceback)
    if isinstance(error, KeyboardInterrupt):
        end_by_signal()
    sys.exit(1)


def end_by_signal():
    """A program that Ctrl+C ends is ended by the signal, after its own clean-up."""
    import signal

    def end():
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)

    runtime.at_end = end
