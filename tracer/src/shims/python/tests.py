# pytest loads test modules itself, with assertions that explain themselves: those that call `watch` get hooks too.
#
# It keeps what it has made of a file in `__pycache__`. Of such files nothing is kept: an untraced run must not find it.
from _tickfs import loaded, runtime


def is_watched(path):
    try:
        with open(path, "rb") as file:
            return b"watch(" in file.read()
    except OSError:
        return False


def follow(_, module):
    explain, read, write = module.rewrite_asserts, module._read_pyc, module._write_pyc

    def rewrite_asserts(tree, source, module_path=None, config=None):
        explain(tree, source, module_path, config)
        if b"watch(" in source:
            runtime.rewritten(tree, module_path or "")

    def _read_pyc(source, *arguments, **named):
        return None if is_watched(source) else read(source, *arguments, **named)

    def _write_pyc(state, code, source_stat, pyc):
        return False if is_watched(code.co_filename) else write(state, code, source_stat, pyc)

    module.rewrite_asserts, module._read_pyc, module._write_pyc = rewrite_asserts, _read_pyc, _write_pyc


def install():
    loaded.follow(["_pytest.assertion.rewrite"], follow)
