"""Where in a TOML file an option stands.

tomllib tells no positions, and neither does tomlkit. The file has been read by tomllib
when this scan sees it, so the scan need not find faults.
"""

import re
from bisect import bisect_right
from collections.abc import Mapping

_TOKEN = re.compile(
    r'"""(?:\\.|[^\\])*?"{3,5}|\'\'\'.*?\'{3,5}|"(?:\\.|[^"\\\n])*"|\'[^\'\n]*\''
    r'|#[^\n]*|[ \t\r]+|[^\s\[\]{}=,."\'#]+|.|\n',
    re.DOTALL,
)
_LAST_STEP = re.compile(r"(\.[^.\[\]]*|\[\d+\])\Z|\A[^.\[\]]*\Z")
_UNSEEN = re.compile(r"#|[ \t\r]")
_QUOTES = "\"'"
_END = ""


def positions(text: str) -> Mapping[str, tuple[int, int]]:
    """Line and column, from 1, of each option, element and table of a TOML file by its path."""
    lines = [0, *(match.end() for match in re.finditer("\n", text))]
    found = {path: (bisect_right(lines, start), start) for path, start in _Scan(text).found.items()}
    return {path: (line, start - lines[line - 1] + 1) for path, (line, start) in found.items()}


def find(known: Mapping[str, tuple[int, int]], path: str) -> tuple[int, int] | None:
    """The position of *path*, or of the nearest table that would have it."""
    while path and path not in known:
        path = _LAST_STEP.sub("", path)
    return known.get(path)


class _Scan:
    """`found` has the offset of each path. Between two calls, `at` is the next token."""

    def __init__(self, text: str) -> None:
        every = ((match[0], match.start()) for match in _TOKEN.finditer(text))
        self.tokens = [one for one in every if not _UNSEEN.match(one[0])]
        self.found: dict[str, int] = {}
        self.at, table, counts = 0, "", dict[str, int]()
        while self.peek("\n") != _END:
            if self.peek() != "[":
                self.pair(table)
                continue
            start, brackets = self.tokens[self.at][1], 0
            while self.peek() == "[":
                brackets, self.at = brackets + 1, self.at + 1
            table = self.key("", start, counts)
            if brackets == 2:
                counts[table] = counts.get(table, -1) + 1
                table = f"{table}[{counts[table]}]"
            self.found.setdefault(table, start)
            self.at += brackets

    def peek(self, skipped: str = "") -> str:
        while self.at < len(self.tokens) and self.tokens[self.at][0] in tuple(skipped):
            self.at += 1
        return self.tokens[self.at][0] if self.at < len(self.tokens) else _END

    def key(self, path: str, start: int, counts: Mapping[str, int]) -> str:
        while self.peek() not in ("=", "]", _END):
            if self.peek() != ".":
                # A part of a header's name means the last table of an array.
                path += f"[{counts[path]}]" if path in counts else ""
                path = f"{path}.{self.peek().strip(_QUOTES)}".lstrip(".")
                self.found.setdefault(path, start)
            self.at += 1
        return path

    def pair(self, table: str) -> None:
        path = self.key(table, self.tokens[self.at][1], {})
        self.at += 1
        self.value(path)

    def value(self, path: str) -> None:
        opened, element = self.peek(), 0
        self.at += opened in ("[", "{")
        while opened == "[" and self.peek("\n,") not in ("]", _END):
            self.found[f"{path}[{element}]"] = self.tokens[self.at][1]
            self.value(f"{path}[{element}]")
            element += 1
        while opened == "{" and self.peek("\n,") not in ("}", _END):
            self.pair(path)
        while opened not in ("[", "{") and self.peek() not in (",", "]", "}", "\n", _END):
            self.at += 1
        self.at += opened in ("[", "{")
