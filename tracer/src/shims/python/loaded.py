# What is done to a module of others, once it has been loaded.
import sys


class Finder:
    """Calls `follow(name, module)` after a module of one of these names has been loaded."""

    def __init__(self, names, follow):
        self.names, self.follow = names, follow

    def find_spec(self, name, path=None, target=None):
        if name not in self.names:
            return None
        for finder in sys.meta_path:
            spec = None if finder is self else getattr(finder, "find_spec", lambda *_: None)(name, path, target)
            if spec and spec.loader:
                execute = spec.loader.exec_module

                def exec_module(module, execute=execute):
                    execute(module)
                    self.follow(name, module)

                spec.loader.exec_module = exec_module
                return spec
        return None


def follow(names, action):
    for name in names:
        if name in sys.modules:
            action(name, sys.modules[name])
    sys.meta_path.insert(0, Finder(names, action))
