"""WordNet's nouns: what they are called, and what they are kinds of.

Only `data.noun` is read (its format: the manual page wndb(5WN)). ImageNet's wnids are "n" and the
offset of a synset in the file of WordNet 3.0; other versions have other offsets.
"""

import os
from collections.abc import Iterator
from pathlib import Path

from yolojax.data.parsing import read_lines
from yolojax.wordtree.hierarchy import Hierarchy

PLACES = ("/usr/share/wordnet", "/usr/local/WordNet-3.0/dict", "/usr/local/share/wordnet")
ROOT = "n00001930"  # physical entity; the paper says "physical object", see docs/wordtree.md
KIND_OF = ("@", "@i")  # pointers to hypernyms, of classes and of instances

# Where the authors' 9k.tree departs from WordNet: child -> parents. These three bring the only
# ILSVRC classes that are no physical entities (traffic light, street sign, bubble) under the root.
PATCHES = {
    "n06791372": ("n03183080",),  # signal: a kind of device
    "n06793231": ("n06791372",),  # sign (public display of a message): of signal
    "n09229709": ("n03964744",),  # bubble: of plaything
}


def find_wordnet(folder: str | Path | None = None) -> Path:
    """The folder with `data.noun`: `folder`, $WORDNET_DIR, or where packages install it.

    Raises:
        FileNotFoundError: it is in none of them.
    """
    named = folder or os.environ.get("WORDNET_DIR")
    places = (named,) if named else PLACES
    for place in map(Path, places):
        if (place / "data.noun").is_file():
            return place
    raise FileNotFoundError(
        f"no data.noun of WordNet 3.0 in {', '.join(map(str, places))}; install it "
        "(Debian: wordnet-base), or name its folder with --wordnet or $WORDNET_DIR."
    )


def read_wordnet(folder: str | Path) -> Hierarchy:
    """The nouns in FOLDER/data.noun; the hypernyms of each in the order of their names.

    That order decides between paths of equal growth, and is the one that comes closest to the
    authors' tree.

    Raises:
        ValueError: the file is unreadable, or a line has not the format of WordNet.
    """
    path = Path(folder) / "data.noun"
    parents, names = {}, {}
    for line, text in _synsets(path):
        try:
            wnid, lemmas, above = _parse_synset(text)
        except (ValueError, IndexError):
            raise ValueError(f"{path}:{line}: not a synset of WordNet: {text[:60]!r}.") from None
        parents[wnid], names[wnid] = above, lemmas
    for wnid, above in parents.items():
        lost = next((parent for parent in above if parent not in names), None)
        if lost:
            raise ValueError(f"{path}: {wnid} points to {lost}, which is not in the file.")
        parents[wnid] = tuple(sorted(above, key=lambda parent: _sort_key(parent, names)))
    return Hierarchy(parents, names, str(path))


def _sort_key(wnid: str, names: dict[str, tuple[str, ...]]) -> tuple[str, str]:
    return names[wnid][0].lower().replace(" ", "_"), wnid  # a space would sort before "-"


def _synsets(path: Path) -> Iterator[tuple[int, str]]:
    """(number, text) of the lines that are not part of the licence; those have their number."""
    for number, text in enumerate(read_lines(path), 1):
        if text and text.split()[0] != str(number):
            yield number, text


def _parse_synset(text: str) -> tuple[str, tuple[str, ...], tuple[str, ...]]:
    """`offset file type count lemma id ... count pointer offset type source-target ... | gloss`."""
    words = text.partition(" | ")[0].split()
    end = 4 + 2 * int(words[3], 16)  # the count of lemmas is hexadecimal
    lemmas = tuple(lemma.replace("_", " ") for lemma in words[4:end:2])
    pointers = words[end + 1 : end + 1 + 4 * int(words[end])]
    above = [
        "n" + offset
        for symbol, offset in zip(pointers[::4], pointers[1::4], strict=True)
        if symbol in KIND_OF
    ]
    whole = len(pointers) == 4 * int(words[end]) and len(words[0]) == 8 and words[0].isdecimal()
    if words[2] != "n" or not lemmas or not whole:
        raise ValueError(text)
    return "n" + words[0], lemmas, tuple(above)
