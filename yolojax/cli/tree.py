"""Build, show and use trees of classes (WordTree, as in YOLO9000).

examples:
  yolojax tree build --labels imagenet1k --out imagenet1k.tree
  yolojax tree build --wordnet WordNet-3.0/dict --labels wnids.txt --out mine.tree
  yolojax tree build --nested animals.yaml --out animals.tree
  yolojax tree show imagenet1k --node terrier
  yolojax tree stats 9k.tree
  yolojax tree map --tree 9k.tree --names coco.names --wordnet --out coco.map

A TREE is a .tree file (with the names of its nodes in a .names file next to it), or the name of a
shipped tree: imagenet1k has the 1000 classes of ILSVRC, coco_imagenet1k those of COCO too.
`yolojax tree VERB --help` has the details of each verb.
"""

import argparse
import sys
import textwrap
from pathlib import Path

from yolojax.files import check_absent
from yolojax.text_table import text_table

BUILD = """Build the tree of a list of labels (YOLO9000, section 4) and write it with its names.

The hierarchy is WordNet 3.0 (from --wordnet, $WORDNET_DIR or Debian's wordnet-base), a CSV of
child,parent names, or a YAML or JSON file of nested names.
As in the paper, each label gets the path to the root that adds the fewest nodes to the tree. Steps
that --without skips:

{steps}"""
MAP = """Propose the node of each class by its wnid or name, and write the node numbers to OUT.

NAMES has one class per line. If some classes are ambiguous or unknown, OUT.todo is written instead,
with the candidates of every class, and the exit status is 1. Edit OUT.todo and run again with
--choices OUT.todo."""
ILSVRC = "imagenet1k"  # the labels and the tree


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `yolojax tree`."""
    from yolojax.wordtree.builder import STEPS

    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    lines = (f"  {name}: {text}" for name, text in STEPS.items())
    steps = "\n".join(textwrap.fill(line, 100, subsequent_indent="    ") for line in lines)
    _add_build(_verb(verbs, "build", "make a tree from labels", BUILD.format(steps=steps)), STEPS)
    _add_show(_verb(verbs, "show", "print a tree, or a part of it, with names"))
    _verb(verbs, "stats", "count nodes, leaves, groups and depths").add_argument("tree")
    _add_map(_verb(verbs, "map", "propose the nodes of other classes by name", MAP))


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
    source.add_argument("--nested", metavar="FILE", help="YAML or JSON of nested names")
    add(
        "--labels",
        nargs="+",
        metavar="FILE",
        help=f"files of ids, one per line, or {ILSVRC} (default: all concepts without children)",
    )
    add("--out", required=True, metavar="OUT", help="the .tree to write")
    add(
        "--root",
        metavar="ID",
        help="concept above all labels (default for WordNet: physical entity)",
    )
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


def _add_map(parser) -> None:
    add = parser.add_argument
    add("--tree", required=True)
    add("--names", required=True, help="the classes, one per line")
    add("--out", required=True, help="the .map to write")
    add("--wordnet", nargs="?", const="", metavar="DIR", help="use the synonyms of WordNet 3.0 too")
    add("--choices", metavar="FILE", help="lines `class = node`, as in OUT.todo")
    add("--force", action="store_true", help="replace a file that exists")


def _count(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"must be 0 or more; got {text}")
    return int(text)


def run(args) -> int:
    """Run the chosen verb; `map` returns 1 if classes are undecided."""
    verbs = {"build": build, "show": show, "stats": stats, "map": map_classes}
    return verbs[args.verb](args)


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
    print(f"{out}: {len(labels)} labels and {between} nodes that connect them")
    print(summary(tree))
    return 0


def read_source(args):
    """Read the hierarchy that `args` name -> (Hierarchy with patches, its default root or None)."""
    from yolojax.wordtree import hierarchy

    if args.csv:
        concepts, root, patches = hierarchy.read_csv(args.csv), None, {}
    elif args.nested:
        concepts, root, patches = hierarchy.read_nested(args.nested), None, {}
    else:
        concepts = hierarchy.read_wordnet(hierarchy.find_wordnet(args.wordnet))
        root, patches = hierarchy.WORDNET_ROOT, hierarchy.WORDNET_PATCHES
    patches = {} if "patches" in args.without else patches
    own = hierarchy.read_patches(args.rehang, concepts) if args.rehang else {}
    return hierarchy.rehang(concepts, {**patches, **own}), root


def read_label_ids(args, hierarchy) -> tuple[str, ...]:
    """Read the ids of --labels without repeats; without --labels, of all leaf concepts.

    Raises:
        argparse.ArgumentError: WordNet is used without --labels.
    """
    if args.labels:
        return tuple(dict.fromkeys(label for file in args.labels for label in _label_ids(file)))
    if not (args.csv or args.nested):
        raise argparse.ArgumentError(None, "--labels is needed with WordNet; give a file of wnids.")
    inner = {parent for above in hierarchy.parents.values() for parent in above}
    return tuple(concept for concept in hierarchy.parents if concept not in inner)


def _label_ids(file: str) -> tuple[str, ...]:
    from yolojax.data.class_names import imagenet_wnids
    from yolojax.data.parsing import read_names
    from yolojax.wordtree.hierarchy import concept_id

    return imagenet_wnids() if file == ILSVRC else tuple(map(concept_id, read_names(Path(file))))


def summary(tree) -> str:
    """Format the numbers of nodes, leaves, groups and levels of `tree` in one line."""
    from yolojax.wordtree.files import statistics

    counted = statistics(tree)
    groups = sum(counted.group_sizes.values())
    return (
        f"{counted.nodes} nodes, {counted.leaves} of them leaves; {groups} groups of siblings, up "
        f"to {max(counted.group_sizes)} in one; {len(counted.depths)} levels"
    )


def show(args) -> int:
    """Print the path to a node and its descendants."""
    from yolojax.wordtree.files import read_named_tree, subtree
    from yolojax.wordtree.matching import find_nodes, path_text

    tree, names = read_named_tree(args.tree)
    for start in find_nodes(tree, names, args.node) if args.node else [None]:
        if start is not None and tree.parents[start] >= 0:
            print(path_text(tree, names, start))
        for level, node in subtree(tree, start, args.levels):
            print(f"{'  ' * level}{names[node]}  {tree.wnids[node]} {node}")
    return 0


def stats(args) -> int:
    """Print the number of nodes at each depth, and of groups of each size."""
    from yolojax.wordtree.files import read_named_tree, statistics

    tree, _ = read_named_tree(args.tree)
    counted = statistics(tree)
    leaves = counted.leaf_depths
    depths = [(str(d), str(n), str(leaves.get(d, 0))) for d, n in counted.depths.items()]
    sizes = [(str(size), str(groups)) for size, groups in counted.group_sizes.items()]
    print(summary(tree))
    print("\n" + text_table(("depth", "nodes", "leaves"), depths, ">"))
    print("\n" + text_table(("siblings", "groups"), sizes, ">"))
    return 0


def map_classes(args) -> int:
    """Write the node of each class, or the classes to decide -> 1 if there are any."""
    from yolojax.data.parsing import read_names
    from yolojax.wordtree import hierarchy, matching
    from yolojax.wordtree.files import read_named_tree, write_map

    check_absent(Path(args.out), force=args.force)
    tree, names = read_named_tree(args.tree)
    classes = read_names(Path(args.names))
    concepts = None
    if args.wordnet is not None:
        concepts = hierarchy.read_wordnet(hierarchy.find_wordnet(args.wordnet))
    matches = matching.match_classes(classes, tree, names, concepts)
    chosen = matching.read_choices(args.choices, classes, tree, names) if args.choices else {}
    nodes = matching.decide(classes, matches, chosen)
    undecided = [name for name, node in nodes.items() if node is None]
    if undecided and args.choices:
        raise ValueError(f"{args.choices}: not decided yet: {', '.join(undecided)}.")
    if undecided:
        todo = f"{args.out}.todo"
        matching.write_choices(todo, matching.choices_text(classes, matches, tree, names))
        print(
            f"{len(classes) - len(undecided)} of {len(classes)} classes have one clear node; choose"
            f" the others in {todo}, and run again with --choices {todo}.",
            file=sys.stderr,
        )
        return 1
    write_map(args.out, list(nodes.values()))
    rows = ((name, str(n), matching.path_text(tree, names, n)) for name, n in nodes.items())
    print(text_table((), rows, "<><"))
    return 0
