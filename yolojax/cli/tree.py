"""Make, look at and use trees of classes (WordTree, as in YOLO9000).

examples:
  yolojax tree build --labels imagenet1k --out imagenet1k.tree
  yolojax tree build --wordnet WordNet-3.0/dict --labels wnids.txt --out mine.tree
  yolojax tree build --nested animals.yaml --out animals.tree
  yolojax tree show imagenet1k --node terrier
  yolojax tree stats 9k.tree
  yolojax tree map --tree 9k.tree --names coco.names --wordnet --out coco.map

A TREE is a .tree file, names of nodes beside it as .names, or imagenet1k: the tree of the 1000
classes of ILSVRC, shipped. `yolojax tree VERB --help` says more of each.
"""

import argparse
import textwrap
from pathlib import Path

from yolojax.cli import tree_map
from yolojax.files import check_absent
from yolojax.text_table import text_table

BUILD = """Build the tree of a list of labels (YOLO9000, section 4), OUT, and the names OUT.names.

The hierarchy is WordNet 3.0, by default where Debian's wordnet-base has it or $WORDNET_DIR says; or
a CSV of child,parent names; or a YAML or JSON file of names within names.
The paper takes all paths of each label to the root, and those that grow the tree least. Steps that
--without leaves out:

{steps}"""
ILSVRC = "imagenet1k"  # the labels and the tree


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `yolojax tree`."""
    from yolojax.wordtree.builder import STEPS

    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    lines = (f"  {name}: {text}" for name, text in STEPS.items())
    steps = "\n".join(textwrap.fill(line, 100, subsequent_indent="    ") for line in lines)
    _add_build(_verb(verbs, "build", "make a tree from labels", BUILD.format(steps=steps)), STEPS)
    _add_show(_verb(verbs, "show", "print a tree, or a part of it, with names"))
    _verb(verbs, "stats", "count nodes, leaves, groups and depths").add_argument("tree")
    tree_map.add_arguments(
        _verb(verbs, "map", "propose the nodes of other classes by name", tree_map.__doc__)
    )


def _verb(verbs, name: str, text: str, description: str | None = None) -> argparse.ArgumentParser:
    return verbs.add_parser(
        name,
        help=text,
        description=description or text.capitalize() + ".",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )


def _add_build(parser, steps) -> None:
    add = parser.add_argument
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--wordnet", metavar="DIR", help="folder with data.noun of WordNet 3.0")
    source.add_argument("--csv", metavar="FILE", help="lines of child,parent")
    source.add_argument("--nested", metavar="FILE", help="YAML or JSON, names within names")
    add(
        "--labels",
        nargs="+",
        metavar="FILE",
        help=f"ids, one a line, or {ILSVRC}; of several files all; else all that has no kinds",
    )
    add("--out", required=True, metavar="OUT", help="the .tree to write")
    add("--root", metavar="ID", help="what all is below (default for WordNet: physical entity)")
    add("--rehang", metavar="FILE", help="CSV of child,parent ids that replace the parents")
    add("--without", nargs="+", default=(), choices=steps, metavar="STEP", help=", ".join(steps))
    add(
        "--promotion",
        action="store_true",
        help="a leaf that is the only child of a label becomes its sibling, as in the authors' "
        "9k.tree; not for labels that have boxes",
    )
    add("--force", action="store_true", help="replace files that exist")


def _add_show(parser) -> None:
    parser.add_argument("tree")
    parser.add_argument("--node", help="name, wnid or number (default: all roots)")
    parser.add_argument(
        "--levels", type=_count, metavar="N", help="go down N levels (default: all)"
    )


def _count(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"must be 0 or more; got {text}")
    return int(text)


def run(args) -> int:
    """Run the chosen part -> 1 where `map` has classes left to decide."""
    return {"build": build, "show": show, "stats": stats, "map": tree_map.run}[args.verb](args)


def build(args) -> int:
    """Write a tree and the names of its nodes."""
    from yolojax.wordtree.builder import build_tree
    from yolojax.wordtree.files import write_tree

    out = Path(args.out)
    if out.suffix != ".tree":
        raise argparse.ArgumentError(None, f"--out must end in .tree; got {args.out}.")
    check_absent(out, out.with_suffix(".names"), force=args.force)
    hierarchy, root = read_source(args)
    labels = read_label_ids(args, hierarchy)
    tree = build_tree(
        hierarchy,
        labels,
        root=args.root or root,
        without=args.without,
        promotion=args.promotion,
    )
    write_tree(out, tree, [hierarchy.names[wnid][0] for wnid in tree.wnids])
    between = len(tree.wnids) - len(labels)
    print(f"{out}: {len(labels)} labels and {between} nodes above and between them")
    print(summary(tree))
    return 0


def read_source(args):
    """The hierarchy that `args` name, patched -> (Hierarchy, its usual root or None)."""
    from yolojax.wordtree import hierarchy, wordnet

    if args.csv:
        found, root, patches = hierarchy.read_csv(args.csv), None, {}
    elif args.nested:
        found, root, patches = hierarchy.read_nested(args.nested), None, {}
    else:
        found = wordnet.read_wordnet(wordnet.find_wordnet(args.wordnet))
        root, patches = wordnet.ROOT, wordnet.PATCHES
    patches = {} if "patches" in args.without else patches
    own = hierarchy.read_patches(args.rehang, found) if args.rehang else {}
    return hierarchy.rehang(found, {**patches, **own}), root


def read_label_ids(args, hierarchy) -> tuple[str, ...]:
    """The ids of --labels, each once, or of all concepts that nothing is a kind of.

    Raises:
        argparse.ArgumentError: WordNet without --labels.
    """
    if args.labels:
        return tuple(dict.fromkeys(label for file in args.labels for label in _label_ids(file)))
    if not (args.csv or args.nested):
        raise argparse.ArgumentError(None, "--labels is needed with WordNet: which of its nouns?")
    inner = {parent for above in hierarchy.parents.values() for parent in above}
    return tuple(concept for concept in hierarchy.parents if concept not in inner)


def _label_ids(file: str) -> tuple[str, ...]:
    from yolojax.data.class_names import imagenet_wnids
    from yolojax.data.parsing import read_names
    from yolojax.wordtree.hierarchy import concept_id

    return imagenet_wnids() if file == ILSVRC else tuple(map(concept_id, read_names(Path(file))))


def summary(tree) -> str:
    """Nodes, leaves, groups and depth of `tree` in a line."""
    from yolojax.wordtree.survey import statistics

    counted = statistics(tree)
    groups = sum(counted.group_sizes.values())
    return (
        f"{counted.nodes} nodes, {counted.leaves} of them leaves; {groups} groups of siblings, up "
        f"to {max(counted.group_sizes)} in one; {len(counted.depths)} levels"
    )


def show(args) -> int:
    """Print what is below a node, and the way to it."""
    from yolojax.wordtree.files import read_named_tree
    from yolojax.wordtree.survey import below, find_nodes, way

    tree, names = read_named_tree(args.tree)
    for start in find_nodes(tree, names, args.node) if args.node else [None]:
        if start is not None and tree.parents[start] >= 0:
            print(way(tree, names, start))
        for level, node in below(tree, start, args.levels):
            print(f"{'  ' * level}{names[node]}  {tree.wnids[node]} {node}")
    return 0


def stats(args) -> int:
    """Print how many nodes there are at each depth, and groups of each size."""
    from yolojax.wordtree.files import read_named_tree
    from yolojax.wordtree.survey import statistics

    tree, _ = read_named_tree(args.tree)
    counted = statistics(tree)
    print(summary(tree))
    depths = (
        map(str, (depth, nodes, counted.leaf_depths.get(depth, 0)))
        for depth, nodes in counted.depths.items()
    )
    print(f"\n{text_table(['depth', 'nodes', 'leaves'], depths, '>')}")
    groups = (map(str, row) for row in counted.group_sizes.items())
    print(f"\n{text_table(['group', 'groups'], groups, '>')}")
    return 0
