"""Propose the node of each class by its wnid or name: NAMES, one a line, to OUT, node numbers.

Where a name means several nodes, or none, it is left to you: OUT.todo lists every class with the
candidates. Edit it, and run again with --choices OUT.todo. Until all is decided the status is 1.
"""

import argparse
import sys
from pathlib import Path

from yolojax.files import check_absent
from yolojax.text_table import text_table


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `yolojax tree map`."""
    add = parser.add_argument
    add("--tree", required=True)
    add("--names", required=True, help="the classes, one a line")
    add("--out", required=True, help="the .map to write")
    add("--wordnet", nargs="?", const="", metavar="DIR", help="use the synonyms of WordNet 3.0 too")
    add("--choices", metavar="FILE", help="lines `class = node`, as in OUT.todo")
    add("--force", action="store_true", help="replace a file that exists")


def run(args) -> int:
    """Write the node of each class, or what is left to decide -> 1 where there is such."""
    from yolojax.data.parsing import read_names
    from yolojax.wordtree import choices, matching, wordnet
    from yolojax.wordtree.files import read_named_tree, write_map

    check_absent(Path(args.out), force=args.force)
    tree, names = read_named_tree(args.tree)
    classes = read_names(Path(args.names))
    known = None
    if args.wordnet is not None:
        known = wordnet.read_wordnet(wordnet.find_wordnet(args.wordnet))
    matches = matching.match_classes(classes, tree, names, known)
    made = choices.read_choices(args.choices, classes, tree, names) if args.choices else {}
    nodes = choices.decide(classes, matches, made)
    undecided = [name for name, node in nodes.items() if node is None]
    if undecided and args.choices:
        raise ValueError(f"{args.choices}: still to be decided: {', '.join(undecided)}.")
    if undecided:
        todo = f"{args.out}.todo"
        choices.write_choices(todo, choices.choices_text(classes, matches, tree, names))
        print(
            f"{len(classes) - len(undecided)} of {len(classes)} classes have one clear node; decide"
            f" on the others in {todo}, and run again with --choices {todo}.",
            file=sys.stderr,
        )
        return 1
    write_map(args.out, list(nodes.values()))
    _print_nodes(nodes, tree, names)
    return 0


def _print_nodes(nodes, tree, names) -> None:
    from yolojax.wordtree.survey import way

    rows = ([name, str(node), way(tree, names, node)] for name, node in nodes.items())
    print(text_table((), rows, "<><"))
