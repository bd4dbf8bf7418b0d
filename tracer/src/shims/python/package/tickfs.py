"""`watch`, for a program that is to find it by import. Under `tickfs watch` it is the runtime's own."""
import sys

_runtime = sys.modules.get("_tickfs.runtime")
traced = _runtime is not None  #: whether this program is traced

if traced:
    watch = _runtime.watch
else:

    def watch(
        value,
        name="var",
        track_threads=None,
        track_locals=None,
        track_sql=None,
        mutation_depth="FULL",
        scope=None,
        file_path=None,
    ):
        """Has every change of this value recorded; gives back what behaves like it."""
        raise RuntimeError(
            "watch() needs the runtime of tickfs: run this program with `tickfs watch --user-script SCRIPT`"
        )
