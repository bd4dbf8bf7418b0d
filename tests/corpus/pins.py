"""What the benchmark data is made of: packages, their versions, and how each corpus is cut from them.

A change here is a change of the data: figures measured before it no longer compare.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Package:
    client: str  # whose registry serves it: pip, npm or cargo
    name: str
    versions: tuple[str, ...]


@dataclass(frozen=True)
class Share:
    """The files that one package gives to `saves` and `commits`: its most changed ones."""

    package: Package
    files: int


def package(client, name, versions):
    return Package(client, name, tuple(versions.split()))


DJANGO = package("pip", "django", "4.2 4.2.8 5.0")
FLASK = package("pip", "flask", "0.12 1.0 1.1.0 2.0.0 2.1.0 2.2.0 2.2.5 2.3.0 2.3.3 3.0.0 3.1.0 3.1.3")
SQLALCHEMY = package(
    "pip", "sqlalchemy", "2.0.0 2.0.4 2.0.8 2.0.12 2.0.16 2.0.20 2.0.24 2.0.28 2.0.32 2.0.36 2.0.40 2.0.44"
)
MYPY = package("pip", "mypy", "1.0.0 1.2.0 1.4.0 1.6.0 1.8.0 1.10.0 1.11.0 1.13.0 1.15.0 1.17.0 1.19.0 1.20.0")
UNDICI = package(
    "npm",
    "undici",
    "5.0.0 5.5.1 5.10.0 5.15.0 5.20.0 5.25.0 5.29.0 6.0.0 6.6.0 6.13.0 6.20.0 7.0.0 7.5.0 7.11.0 7.18.0 8.0.0",
)
REDB = package(
    "cargo", "redb", "1.0.0 1.1.0 1.2.0 1.3.0 1.4.0 1.5.0 2.0.0 2.1.0 2.2.0 2.3.0 2.4.0 2.5.0 3.0.0 3.1.0 4.0.0"
)

# The replay: a whole project, and single-file saves the size of a commit's change to one file.
# Of the translations only some languages are kept, or they would be most of the files.
REPLAY_OF = DJANGO
REPLAY_LANGUAGES = ("de", "en", "es", "fr", "it", "ja", "nl", "pl", "pt_BR", "ru", "sv", "tr")
REPLAY_SAVES = 300
REPLAY_LINES = 20

# The saves: few files, edited for long. A file's history ends at its limit, so that none is most of the data.
SHARES = (Share(SQLALCHEMY, 8), Share(MYPY, 4), Share(UNDICI, 22), Share(REDB, 18), Share(FLASK, 8))
SAVE_LINES = 3
SAVES_PER_FILE = 650

# What comes out of all this: another diff program might cut otherwise.
DIGESTS = {"replay": "f4925a6a1a4e78d3", "saves": "c0e94412d02932c6", "commits": "ea200a794b2eee31"}
