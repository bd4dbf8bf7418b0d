"""Cuts the difference of two versions of a file into saves, as somebody who edits from top to bottom makes them.

A save is a list of splices `(offset, deleted, inserted)`: ascending, not overlapping, and all counted in the text as
it was before the save.
"""

import re
import subprocess
import tempfile
from pathlib import Path

COMMAND = re.compile(rb"(\d+)(?:,(\d+))?([acd])(\d+)(?:,(\d+))?")


def saves(old, new, most_lines):
    """The saves that lead from `old` to `new`, each of at most `most_lines` changed lines."""
    if old == new:
        return []
    if not old or b"\0" in old + new:
        # A new file is written at once, and so is one that no editor shows as lines.
        return [[(0, len(old), new)]]
    made, save, lines_in_save = [], [], 0
    grown = grown_before_save = 0
    for offset, deleted, inserted, lines in pieces(old, new, most_lines):
        if lines_in_save + lines > most_lines:
            made.append(save)
            save, lines_in_save, grown_before_save = [], 0, grown
        save.append((offset + grown_before_save, deleted, inserted))
        lines_in_save += lines
        grown += len(inserted) - deleted
    made.append(save)
    if replay(old, made) != new:
        raise AssertionError("the saves do not lead to the new version")
    return made


def pieces(old, new, most_lines):
    """Splices in the old text, in order, each with the number of lines it changes."""
    old_at, new_at = line_starts(old), line_starts(new)
    for old_from, old_to, new_from, new_to in hunks(old, new):
        while old_from < old_to or new_from < new_to:
            old_end, new_end = min(old_from + most_lines, old_to), min(new_from + most_lines, new_to)
            lines = max(old_end - old_from, new_end - new_from)
            offset = old_at[old_from]
            yield offset, old_at[old_end] - offset, new[new_at[new_from] : new_at[new_end]], lines
            old_from, new_from = old_end, new_end


def hunks(old, new):
    """Changed line ranges `(old from, old to, new from, new to)`, half open, from 0."""
    with tempfile.TemporaryDirectory() as scratch:
        paths = [Path(scratch, "old"), Path(scratch, "new")]
        for path, text in zip(paths, (old, new)):
            path.write_bytes(text)
        # difflib would take minutes on a file of ten thousand lines.
        done = subprocess.run(["diff", "--text", "--minimal", *paths], capture_output=True)
    if done.returncode > 1:
        raise OSError(f"diff failed: {done.stderr.decode(errors='replace').strip()}")
    for line in done.stdout.split(b"\n"):
        # Lines of text begin with <, > or a backslash, so only a command matches.
        if match := COMMAND.fullmatch(line):
            old_first, old_last, what, new_first, new_last = match.groups()
            old_from, new_from = int(old_first) - (what != b"a"), int(new_first) - (what != b"d")
            old_to = old_from if what == b"a" else int(old_last or old_first)
            new_to = new_from if what == b"d" else int(new_last or new_first)
            yield old_from, old_to, new_from, new_to


def line_starts(text):
    """Where each line starts, and where the last one ends."""
    starts = [0] + [at.end() for at in re.finditer(b"\n", text)]
    return starts if starts[-1] == len(text) else starts + [len(text)]


def replay(text, made):
    for save in made:
        text = applied(text, save)
    return text


def applied(text, save):
    parts, at = [], 0
    for offset, deleted, inserted in save:
        parts += [text[at:offset], inserted]
        at = offset + deleted
    return b"".join([*parts, text[at:]])
