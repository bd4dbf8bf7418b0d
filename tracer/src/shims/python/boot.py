# Starts the shim and then the program, as `python3 -c`: descriptors of the bundle, the ring, the bell and the agent come first.
def boot():
    import json
    import sys
    import types
    if sys.version_info < (3, 8):
        sys.exit("tickfs: this is Python %d.%d, and 3.8 is the oldest that can be watched" % sys.version_info[:2])
    bundle, ring, bell, agent = (int(number) for number in sys.argv[1:5])
    with open(bundle, "rb") as file:
        bundle = json.load(file)
    package = sys.modules["_tickfs"] = types.ModuleType("_tickfs")
    package.__path__ = []
    for name, source in bundle["sources"]:
        module = types.ModuleType("_tickfs." + name)
        sys.modules[module.__name__] = module
        setattr(package, name, module)
        exec(compile(source, "<tickfs>/" + name + ".py", "exec"), module.__dict__)
    return package.start.start(bundle["settings"], ring, bell, agent, sys.argv[5:])


boot()
