# How long the text of each element of a container is, so that a change of one element is told without spelling the others.
#
# Only for containers of plain values: nothing but their own mutators changes their text. A change that no plan below knows
# is told whole, and the mirror is made anew.
import bisect
import struct

from _tickfs import values

SMALL = 32  # a shorter container is spelled whole: that is as fast
PLAIN = frozenset(values.PLAIN)


class Lengths:
    """Sums of lengths up to a place, and changes of one length, in logarithmic time (a Fenwick tree)."""

    def __init__(self, lengths):
        self.lengths = list(lengths)
        self.tree = [0] + self.lengths
        for place in range(1, len(self.tree)):
            above = place + (place & -place)
            if above < len(self.tree):
                self.tree[above] += self.tree[place]

    def before(self, place):
        total = 0
        while place:
            total += self.tree[place]
            place &= place - 1
        return total

    def set(self, place, length):
        more = length - self.lengths[place]
        self.lengths[place] = length
        place += 1
        while place < len(self.tree):
            self.tree[place] += more
            place += place & -place

    def append(self, length):
        self.lengths.append(length)
        place = len(self.tree)
        self.tree.append(length + self.before(place - 1) - self.before(place & (place - 1)))

    def pop(self):
        self.tree.pop()
        return self.lengths.pop()


def spelled(item):
    return repr(item).encode("utf-8", "surrogatepass")


class Sequence:
    """`[1, 2]`: each element counts with the comma behind it, the last one too."""

    def __init__(self, texts):
        self.lengths = Lengths(len(text) + 2 for text in texts)
        self.size = sum(self.lengths.lengths) + (2 if not texts else 0)

    def at(self, place):
        return 1 + self.lengths.before(place)

    def append(self, texts):
        """What is to be put in before the closing bracket."""
        count = len(self.lengths.lengths)
        at = self.size - 1
        for text in texts:
            self.lengths.append(len(text) + 2)
        added = (b", " if count and texts else b"") + b", ".join(texts)
        self.size += len(added)
        return at, 0, added

    def replace(self, place, text):
        at, length = self.at(place), self.lengths.lengths[place]
        self.lengths.set(place, len(text) + 2)
        self.size += len(text) + 2 - length
        return at, length - 2, text

    def pop(self):
        length = self.lengths.pop()
        while self.lengths.lengths and not self.lengths.lengths[-1]:
            self.lengths.pop()
        removed = length - (0 if self.lengths.lengths else 2)
        self.size -= removed
        return self.size - 1, removed, b""


class ListMirror:
    fast = frozenset("append extend pop __setitem__ __delitem__ __iadd__".split())

    def __init__(self, value):
        texts = [spelled(item) for item in list.__iter__(value)]
        self.text = b"[" + b", ".join(texts) + b"]"
        self.sequence = Sequence(texts)

    def change(self, name, value, arguments, before, _):
        """The piece that differs after a mutator: where, how long it was, what is there now. `None`: it is not known."""
        count = list.__len__(value)
        if before != len(self.sequence.lengths.lengths):
            return None
        if name in ("append", "extend", "__iadd__"):
            added = list.__getitem__(value, slice(before, None))
            return self.sequence.append([spelled(item) for item in added]) if are_plain(added) else None
        if name == "__setitem__":
            place, item = arguments
            if type(place) is not int or type(item) not in PLAIN:
                return None
            return self.sequence.replace(place if place >= 0 else count + place, spelled(item))
        place = arguments[0] if arguments else -1
        return self.sequence.pop() if count == before - 1 and place in (-1, before - 1) else None


class DictMirror:
    fast = frozenset("pop popitem setdefault update __setitem__ __delitem__".split())

    def __init__(self, value):
        texts = [spelled(key) + b": " + spelled(item) for key, item in dict.items(value)]
        self.text = b"{" + b", ".join(texts) + b"}"
        self.sequence = Sequence(texts)
        self.places = {key: place for place, key in enumerate(dict.__iter__(value))}
        # A key keeps the spelling that it had, and `1`, `1.0` and `True` are one.
        kinds = set(map(type, self.places))
        self.kind = kinds.pop() if len(kinds) == 1 else None

    def change(self, name, value, arguments, before, result):
        if before != len(self.places):
            return None
        if name in ("pop", "__delitem__", "popitem"):
            if dict.__len__(value) == before:
                return ()
            return self.remove(result[0] if name == "popitem" else arguments[0])
        given = arguments[0] if arguments else None
        keys = [given] if name != "update" else list(given) if type(given) is dict else ()
        items = [dict.get(value, key) for key in keys]
        if not keys or not are_plain(items) or any(type(key) is not self.kind for key in keys):
            return None
        texts = [spelled(key) + b": " + spelled(item) for key, item in zip(keys, items)]
        if not any(key in self.places for key in keys):
            for key in keys:
                self.places[key] = len(self.sequence.lengths.lengths) + len(self.places) - before
            return self.sequence.append(texts)
        return self.sequence.replace(self.places[keys[0]], texts[0]) if len(keys) == 1 else None

    def remove(self, key):
        """An entry that is gone has no length; the last one takes the comma before it along."""
        if type(key) is not self.kind or key not in self.places or len(self.places) < SMALL:
            return None
        place = self.places.pop(key)
        if place == len(self.sequence.lengths.lengths) - 1:
            return self.sequence.pop()
        at, length = self.sequence.at(place), self.sequence.lengths.lengths[place]
        self.sequence.lengths.set(place, 0)
        self.sequence.size -= length
        return at, length, b""


class SetMirror:
    fast = frozenset("add remove discard pop".split())

    def __init__(self, value):
        self.texts = sorted(map(repr, value))
        self.text = ("{" + ", ".join(self.texts) + "}").encode("utf-8", "surrogatepass")
        self.is_ascii = self.text.isascii()

    def change(self, name, value, arguments, before, result):
        item = result if name == "pop" else arguments[0]
        if before != len(self.texts) or type(item) not in PLAIN:
            return None
        text = repr(item)
        place = bisect.bisect_left(self.texts, text)
        there = place < len(self.texts) and self.texts[place] == text
        size = len(value)
        if size == before:
            return ()
        if (size > before) == there or min(size, before) < SMALL:
            return None
        if not self.is_ascii or not text.isascii():
            return None
        at = 1 + sum(map(len, self.texts[:place])) + 2 * place
        piece = text.encode()
        last = place == max(size, before) - 1
        if size > before:
            self.texts.insert(place, text)
            return (at - 2, 0, b", " + piece) if last else (at, 0, piece + b", ")
        del self.texts[place]
        return (at - 2, len(piece) + 2, b"") if last else (at, len(piece) + 2, b"")


def are_plain(items):
    return PLAIN.issuperset(map(type, items))


def of(value):
    """The mirror of a container, and its text; `None` where it is spelled whole each time."""
    if isinstance(value, list):
        return ListMirror(value) if list.__len__(value) >= SMALL and are_plain(list.__iter__(value)) else None
    if isinstance(value, dict):
        if dict.__len__(value) < SMALL or not are_plain(dict.__iter__(value)) or not are_plain(dict.values(value)):
            return None
        return DictMirror(value)
    if isinstance(value, set):
        return SetMirror(value) if set.__len__(value) >= SMALL and are_plain(value) else None
    return None


def patch(at, removed, added):
    return struct.pack("<QQ", at, removed) + added
