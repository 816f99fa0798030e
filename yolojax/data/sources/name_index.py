"""Finding a file by the name that an annotation has for it, which may be from another machine."""

import unicodedata
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

MAX_PARTS = 32  # of a path; only so many trailing ones are compared


class NameIndex:
    """Files by their path below a folder, and by trailing parts of a path.

    Names are compared with / for a backslash, in any letter case and with composed accents, as
    Windows and macOS have no difference there.
    """

    def __init__(self, files: Iterable[tuple[str, Path]]):
        """Index `files`: (path below the folder, file)."""
        self._paths, self._bases = defaultdict(list), defaultdict(list)
        for name, path in files:
            key = _key(name)
            self._paths[key].append((name, path))
            self._bases[key.rpartition("/")[2]].append((name, path))

    def at(self, name: str) -> list[Path]:
        """List the files with the path `name`: one, or several that differ in letter case."""
        return _exact_first(self._paths.get(_key(name), []), name)

    def find(self, name: str) -> list[Path]:
        """List the files whose path is the longest part at the end of `name`, or its last part.

        Several files mean that `name` is ambiguous.
        """
        parts = _key(name).split("/")[-MAX_PARTS:]
        for start in range(len(parts)):
            if found := self._paths.get("/".join(parts[start:])):
                return _exact_first(found, name)
        return [path for _, path in self._bases.get(parts[-1], [])]

    def count_base(self, name: str) -> int:
        """Count the files with the last part of `name`, in all folders."""
        return len(self._bases.get(_key(name).rpartition("/")[2], []))


def _key(name: str) -> str:
    key = unicodedata.normalize("NFC", name).lower() if not name.isascii() else name.lower()
    return key.replace("\\", "/").removeprefix("./")


def _exact_first(found: list[tuple[str, Path]], name: str) -> list[Path]:
    """Return the files whose path is exactly `name`, or all if there are none."""
    return [path for own, path in found if own == name] or [path for _, path in found]
