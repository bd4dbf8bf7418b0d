"""Makes the benchmark data: real files in the versions that were released, and the saves that lead between them.

    target/corpus/<name>/base/…      the files as they are at the start
    target/corpus/<name>/saves.bin   what is saved afterwards, in order (read by tests/harness/corpus.rs)
    target/corpus/<name>/DONE        a digest of this program with its pins, and the corpus in numbers

`replay` is a whole project with 300 saves; `saves` is few files with very many small saves; `commits` is the same
files, saved once a release. The same pins make the same bytes.

saves.bin, all numbers little-endian: the magic, then for each save
    u16 length of the path, the path, u16 number of splices,
    for each splice  u64 offset, u64 bytes deleted, u32 length of what is inserted, what is inserted.
A path that the base does not have starts as an empty file.
"""

import hashlib
import shutil
import struct
import sys
import time
from pathlib import Path

import cut
import fetch
import pins

MAGIC = b"tickcor1"
HERE = Path(__file__).resolve().parent
BUILT = HERE.parent.parent / "target"
TARGET = BUILT / "corpus"


def main(names):
    unknown = set(names) - set(CORPORA)
    if unknown:
        sys.exit(f"no corpus is called {', '.join(sorted(unknown))}: there are {', '.join(CORPORA)}")
    downloads = TARGET / "downloads"
    downloads.mkdir(parents=True, exist_ok=True)
    mark_as_built()
    for name in names or CORPORA:
        make(name, downloads)


def mark_as_built():
    """Cargo marks `target` only where it makes it itself; without the mark its files are taken for sources."""
    tag = BUILT / "CACHEDIR.TAG"
    if not tag.exists():
        tag.write_text("Signature: 8a477f597d28d172789f06886806bc55\n")


def make(name, downloads):
    directory, digest = TARGET / name, program_digest()
    done = directory / "DONE"
    if done.exists() and done.read_text().startswith(digest):
        print(f"{name}: already made: {done.read_text().splitlines()[1]}")
        return
    started = time.monotonic()
    try:
        base, saves = CORPORA[name](downloads)
    except fetch.Unreachable as why:
        sys.exit(f"corpus {name} was not made: {why}\nTry again where pip, npm and cargo reach their registries.")
    if directory.exists():
        shutil.rmtree(directory)
    directory.mkdir()
    write_base(directory / "base", base)
    numbers = write_saves(directory / "saves.bin", base, saves)
    made, pinned = corpus_digest(base, directory / "saves.bin"), pins.DIGESTS[name]
    if made != pinned:
        print(f"corpus {name} is {made}, not {pinned} as pinned: figures will not compare", file=sys.stderr)
    done.write_text(f"{digest}\n{numbers}\n")
    print(f"{name}: {numbers}; made in {time.monotonic() - started:.0f} s")


def program_digest():
    sources = b"".join(path.read_bytes() for path in sorted(HERE.glob("*.py")))
    return hashlib.sha256(sources).hexdigest()


def corpus_digest(base, saves):
    digest = hashlib.sha256(saves.read_bytes())
    for path, (content, executable) in sorted(base.items()):
        digest.update(f"{path}\0{executable}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()[:16]


def replay(downloads):
    trees = [kept_of_project(tree) for tree in fetch.releases(pins.REPLAY_OF, downloads)]
    saves = []
    for old, new in zip(trees, trees[1:]):
        for path in sorted(new, key=shuffled):
            before = old.get(path, (b"", False))[0]
            saves += [(path, save) for save in cut.saves(before, new[path][0], pins.REPLAY_LINES)]
    return trees[0], saves[: pins.REPLAY_SAVES]


def kept_of_project(tree):
    def kept(path):
        _, in_locale, below = path.partition("/locale/")
        return not in_locale or below.split("/")[0] in (*pins.REPLAY_LANGUAGES, "__init__.py")

    return {path: file for path, file in tree.items() if kept(path)}


def shuffled(path):
    """An order that goes all over the tree, and is the same every time."""
    return hashlib.sha256(path.encode()).digest()


def small_saves(downloads):
    return from_shares(downloads, lambda old, new: cut.saves(old, new, pins.SAVE_LINES))


def commits(downloads):
    return from_shares(downloads, lambda old, new: cut.saves(old, new, sys.maxsize))


def from_shares(downloads, cut_one):
    base, saves = {}, []
    for share in pins.SHARES:
        trees = fetch.releases(share.package, downloads)
        chosen = most_changed(trees)[: share.files]
        left = dict.fromkeys(chosen, pins.SAVES_PER_FILE)
        text = {}
        for tree in trees:
            for path in chosen:
                if path not in tree or left[path] == 0:
                    continue
                content, executable = tree[path]
                whole = f"{share.package.name}/{path}"
                if path in text:
                    made = cut_one(text[path], content)[: left[path]]
                    left[path] -= len(made)
                    saves += [(whole, save) for save in made]
                else:
                    base[whole] = (content, executable)
                text[path] = content
    return base, saves


def most_changed(trees):
    """Paths of text, those with the most changed bytes over all releases first."""
    changed, binary = {}, set()
    for old, new in zip(trees, trees[1:]):
        for path in new.keys() & old.keys():
            before, after = old[path][0], new[path][0]
            if b"\0" in before + after:
                binary.add(path)
            elif before != after:
                kept = set(before.split(b"\n"))
                lines = sum(line not in kept for line in after.split(b"\n"))
                changed[path] = changed.get(path, 0) + lines
    return sorted(changed.keys() - binary, key=lambda path: (-changed[path], path))


CORPORA = {"replay": replay, "saves": small_saves, "commits": commits}


def write_base(directory, base):
    for path, (content, executable) in sorted(base.items()):
        file = directory / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
        file.chmod(0o755 if executable else 0o644)


def write_saves(file, base, saves):
    """Writes them, applying each as a reader will, and returns the corpus in numbers."""
    text = {path: content for path, (content, _) in base.items()}
    total = largest = 0
    with file.open("wb") as out:
        out.write(MAGIC)
        for path, save in saves:
            name = path.encode()
            out.write(struct.pack("<H", len(name)) + name + struct.pack("<H", len(save)))
            for offset, deleted, inserted in save:
                out.write(struct.pack("<QQI", offset, deleted, len(inserted)) + inserted)
            text[path] = cut.applied(text.get(path, b""), save)
            total, largest = total + len(text[path]), max(largest, len(text[path]))
    base_bytes = sum(len(content) for content, _ in base.values())
    return (
        f"{len(base):,} files of {base_bytes:,} bytes; {len(saves):,} saves of {len({path for path, _ in saves}):,} files, "
        f"{total:,} bytes whole, mean {total // max(len(saves), 1):,}, largest {largest:,}; saves.bin {file.stat().st_size:,} bytes"
    )


if __name__ == "__main__":
    main(sys.argv[1:])
