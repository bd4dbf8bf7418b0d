# Which SQL statement runs where a variable changes: drivers are followed as they are loaded, and behave as ever.
#
# A statement counts from its execution until the next one in the same thread or task, or until its transaction ends or its
# cursor is closed. Parameters are never looked at.
import contextvars
import functools
import hashlib
import re
import threading

from _tickfs import loaded

running = contextvars.ContextVar("tickfs_query", default=0)
inside = contextvars.ContextVar("tickfs_inside", default=False)  # what a driver asks on its own account is nobody's query
last = threading.local()  # the context of this thread's last query, as long as it may run
known = {}  # statement -> its number
runtime = None

DRIVERS = {
    "sqlite3": ("connect", None),
    "psycopg2": ("connect", None),
    "psycopg2.extras": (None, ("DictCursorBase", "DictCursor", "RealDictCursor", "NamedTupleCursor")),
    "psycopg": (None, ("Cursor", "AsyncCursor", "ServerCursor", "AsyncServerCursor", "Connection", "AsyncConnection")),
    "pymysql.cursors": (None, ("Cursor", "SSCursor")),
    "pymysql.connections": (None, ("Connection",)),
    "mysql.connector.cursor": (None, ("MySQLCursor", "MySQLCursorPrepared")),
    "mysql.connector.connection": (None, ("MySQLConnection",)),
    "mysql.connector.cursor_cext": (None, ("CMySQLCursor", "CMySQLCursorPrepared")),
    "mysql.connector.connection_cext": (None, ("CMySQLConnection",)),
    "mysql.connector.aio.cursor": (None, ("MySQLCursor", "MySQLCursorPrepared")),
    "mysql.connector.aio.connection": (None, ("MySQLConnection",)),
}
EXECUTES = ("execute", "executemany", "executescript", "query", "copy", "copy_expert", "stream")
ENDS = ("commit", "rollback", "close", "__exit__")


def context(statement):
    """What an event says of a statement."""
    text = " ".join(statement.split())
    operation = (re.match(r"\w+", text) or [""])[0].upper()
    target = re.search(r"(?i)\b(?:into|from|update|table(?:\s+if(?:\s+not)?\s+exists)?|join)\s+([\"`\[]?[\w.]+)", text)
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=6).hexdigest()
    return {"operation": operation, "table": target and target[1].strip("\"`["), "query_hash": "0x" + digest}


def begin(statement):
    statement = statement.decode("utf-8", "replace") if isinstance(statement, (bytes, bytearray)) else str(statement)
    number = known.get(statement)
    if number is None:
        number = known[statement] = len(known) + 1
        runtime.say(query={"id": number, "context": context(statement)})
    now(number)


def end():
    now(0)


def now(number):
    running.set(number)
    last.context = runtime.agent.query_runs(number)


def executing(method):
    @functools.wraps(method)
    def execute(self, statement, *arguments, **named):
        if inside.get():
            return method(self, statement, *arguments, **named)
        begin(statement)
        token = inside.set(True)
        try:
            return method(self, statement, *arguments, **named)
        finally:
            inside.reset(token)

    return execute


def ending(method):
    @functools.wraps(method)
    def finish(self, *arguments, **named):
        try:
            return method(self, *arguments, **named)
        finally:
            if not inside.get():
                end()

    return finish


def followed(cls):
    """The methods of a class that run statements, and that end them, in their followed form."""
    methods = {name: executing(getattr(cls, name)) for name in EXECUTES if hasattr(cls, name)}
    methods.update({name: ending(getattr(cls, name)) for name in ENDS if hasattr(cls, name)})
    return methods


@functools.lru_cache(None)
def subclass(cls):
    """For classes that are written in C and cannot be changed."""
    return type(cls.__name__, (cls,), {**followed(cls), "__module__": cls.__module__, "__qualname__": cls.__qualname__})


def sqlite3_connect(module, connect):
    cursor = subclass(module.Cursor)

    @functools.lru_cache(None)
    def connection(cls):
        made = subclass(cls)

        def open_cursor(self, factory=cursor, *arguments):
            return cls.cursor(self, subclass(factory) if factory is module.Cursor else factory, *arguments)

        made.cursor = open_cursor
        return made

    @functools.wraps(connect)
    def connected(database, *arguments, **named):
        if len(arguments) < 5:
            named["factory"] = connection(named.get("factory", module.Connection))
        return connect(database, *arguments, **named)

    return connected


def psycopg2_connect(module, connect):
    from psycopg2 import extensions

    @functools.wraps(connect)
    def connected(*arguments, **named):
        named["cursor_factory"] = telling(named.get("cursor_factory") or extensions.cursor)
        named["connection_factory"] = opening(named.get("connection_factory") or extensions.connection)
        return connect(*arguments, **named)

    def telling(factory):
        return subclass(factory) if factory is extensions.cursor else factory

    @functools.lru_cache(None)
    def opening(factory):
        if not isinstance(factory, type):
            return factory

        def cursor(self, *arguments, **named):
            if "cursor_factory" in named:
                named["cursor_factory"] = telling(named["cursor_factory"])
            return factory.cursor(self, *arguments[:1], *map(telling, arguments[1:2]), *arguments[2:], **named)

        made = subclass(factory)
        made.cursor = cursor
        return made

    return connected


def follow(name, module):
    connect, classes = DRIVERS[name]
    if connect:
        make = sqlite3_connect if name == "sqlite3" else psycopg2_connect
        setattr(module, connect, make(module, getattr(module, connect)))
    for cls in [getattr(module, cls, None) for cls in classes or ()]:
        for method, replacement in followed(cls).items() if cls else ():
            setattr(cls, method, replacement)


def install(given):
    global runtime
    runtime = given
    runtime.agent.queries(running)
    loaded.follow(DRIVERS, follow)
