"""YOLO9000's joint training in small: boxes for some classes, image labels for the others.

Cats and horses have no boxes in training. Pictures that show nothing else become labelled pictures,
next to one picture of each of ILSVRC's 398 animals. The network is Tiny Darknet, pretrained on
ImageNet, with a 3x3 convolution and the output layer. This file writes the data and is the config
of both runs:

    python benchmarks/animals_joint.py --data=DATA --wordnet=/usr/share/wordnet --cfg=tiny.cfg
    yolojax convert tiny.weights --to runs/animals/tiny.conv.19
    yolojax train --config=benchmarks/animals_joint.py:joint --workdir=runs/animals/joint
    yolojax train --config=benchmarks/animals_joint.py:boxes --workdir=runs/animals/boxes

DATA contains voc2012_animals/ (a VOC tree) and imagenet_sample/images/ (WNID_name.jpg). `boxes`
uses the same detection pictures in the same number of updates, without labelled pictures. Both are
evaluated on voc2012_animals:val.
"""

import argparse
import shutil
from pathlib import Path

from yolojax.config import Config
from yolojax.data.class_names import VOC_CLASSES
from yolojax.data.sources.load import load_source
from yolojax.files import write_text
from yolojax.wordtree.builder import build_tree
from yolojax.wordtree.files import read_map, tree_fields, write_map, write_names, write_tree
from yolojax.wordtree.hierarchy import WORDNET_PATCHES, WORDNET_ROOT, read_wordnet, rehang

OUT = Path("runs/animals")
STEPS, BOXED = 1500, 8  # updates, and in each pictures with boxes
ANCHORS = ((3.0, 4.0), (6.0, 8.0), (11.0, 11.0))  # cells of 14 x 14
MIX = (2, 1)  # pictures with boxes to labelled ones
HELD_OUT = ("cat", "horse")
LAST_ANIMAL = "n02655020"  # of ILSVRC's classes in the order of their ids, the 398th
# Nodes of VOC's classes; those that COCO has too are the authors' of coco9k.map.
NODES = (
    *("n02691156", "n02834778", "n01503061", "n02858304", "n02876657", "n02924116", "n02958343"),
    *("n02121620", "n03001627", "n02402425", "n03201208", "n02084071", "n02374451", "n03790512"),
    *("n00007846", "n03991062", "n02411705", "n04256520", "n04468005", "n03211117"),
)


def main() -> None:
    """Write everything below --out."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("data", "wordnet", "cfg"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    args = parser.parse_args()
    pictures = sorted((args.data / "imagenet_sample" / "images").glob("*.jpg"))
    animals = [p for p in pictures if p.name.split("_")[0] <= LAST_ANIMAL]
    nodes = write_classes(OUT, args.wordnet, [p.name.split("_")[0] for p in animals])
    write_text(OUT / "net.cfg", network(args.cfg.read_text(), nodes))
    train = load_source(f"voc:{args.data / 'voc2012_animals'}:train", classes=VOC_CLASSES)
    held = {VOC_CLASSES.index(name) for name in HELD_OUT}
    boxed = [r for r in train if not held & set(r.labels.tolist())]
    lists = OUT / "voc" / "ImageSets" / "Main"
    write_text(lists / "boxed.txt", "".join(f"{r.image_id}\n" for r in boxed))
    link_voc(OUT / "voc", args.data / "voc2012_animals")
    shutil.rmtree(OUT / "labelled", ignore_errors=True)  # no link of other held-out classes stays
    link_labelled(OUT / "labelled", animals, [r for r in train if len(set(r.labels)) == 1])
    print(f"{len(boxed)} of {len(train)} pictures keep their boxes; {len(animals)} animals")


def get_config(arg: str) -> Config:
    """The config of the run "joint", or of "boxes"."""
    config = Config()
    config.model.name, config.model.cfg = "tiny_darknet_tree", (OUT / "net.cfg").read_text()
    for name, value in tree_fields(OUT / "animals.tree").items():
        setattr(config.model, name, value)
    config.model.anchors = ANCHORS
    config.init_from = str(OUT / "tiny.conv.19")

    config.data.train, config.data.val = f"voc:{OUT}/voc:boxed", f"voc:{OUT}/voc:val"
    config.data.map = f"{OUT}/voc.map"
    config.data.image_size = (224, 224)
    config.data.augment.geometry, config.data.augment.jitter = "crop", 0.2

    batch = BOXED
    if arg == "joint":
        config.data.labelled, config.data.mix = f"folder:{OUT}/labelled", MIX
        batch = BOXED * sum(MIX) // MIX[0]
    config.optimizer.batch_size, config.optimizer.images = batch, STEPS * batch
    config.optimizer.learning_rate = 4e-3
    config.optimizer.burn_in_images = config.loss.warmup_images = 100 * batch
    config.optimizer.step_images = (STEPS * 6 // 10 * batch, STEPS * 85 // 100 * batch)
    config.optimizer.step_scales = (0.1, 0.1)
    config.optimizer.clip_norm, config.optimizer.ema_decay = 20.0, 0.995
    nodes = read_map(OUT / "voc.map", len(config.model.tree))
    config.eval.seen = tuple(
        node for name, node in zip(VOC_CLASSES, nodes, strict=True) if name not in HELD_OUT
    )
    return config


def network(backbone: str, nodes: int) -> str:
    """The .cfg of a classifier with its output replaced by that of a detector."""
    kept = backbone[: backbone.rindex("[convolutional]")]
    anchors = ", ".join(f"{w:g},{h:g}" for w, h in ANCHORS)
    outputs = len(ANCHORS) * (5 + nodes)
    return f"""{kept}[convolutional]
batch_normalize=1
filters=512
size=3
stride=1
pad=1
activation=leaky

[convolutional]
filters={outputs}
size=1
stride=1
pad=1
activation=linear

[region]
anchors={anchors}
classes={nodes}
coords=4
num={len(ANCHORS)}
softmax=1
"""


def write_classes(out: Path, wordnet: Path, animals: list[str]) -> int:
    """out/animals.tree, its names and out/voc.map -> the number of nodes."""
    hierarchy = rehang(read_wordnet(wordnet), WORDNET_PATCHES)
    tree = build_tree(hierarchy, list(dict.fromkeys([*NODES, *animals])), root=WORDNET_ROOT)
    write_tree(out / "animals.tree", tree)
    write_names(out / "animals.names", [hierarchy.names[wnid][0] for wnid in tree.wnids])
    write_map(out / "voc.map", [tree.wnids.index(wnid) for wnid in NODES])
    return len(tree.wnids)


def link_voc(out: Path, source: Path) -> None:
    """A VOC tree at `out` with the pictures of `source` and, besides our list, its val.txt."""
    for name in ("Annotations", "JPEGImages"):
        link(out / name, source / name)
    write_text(out / "voc.names", "".join(f"{name}\n" for name in VOC_CLASSES))
    text = (source / "ImageSets" / "Main" / "val.txt").read_text()
    write_text(out / "ImageSets" / "Main" / "val.txt", text)


def link_labelled(out: Path, animals: list[Path], single: list) -> None:
    """Pictures named WNID_...: the animals, and those that show a held-out class alone."""
    for path in animals:
        link(out / path.name, path)
    for record in single:
        name = VOC_CLASSES[record.labels[0]]
        if name in HELD_OUT:
            node = NODES[VOC_CLASSES.index(name)]
            link(out / f"{node}_{record.image_id}.jpg", record.image)


def link(path: Path, target: Path) -> None:
    """A symbolic link; one that is there already is left."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.is_symlink():
        path.symlink_to(target.resolve())


if __name__ == "__main__":
    main()
