"""The loss of YOLOv2 and YOLO9000 (Darknet's region_layer.c; the paper gives no formula).

Four terms over all slots (a slot is one anchor of one cell): coord, object, noobject and class.
With the variants that are the defaults their gradient with respect to `raw` is Darknet's delta,
negated and divided by the batch size. docs/losses.md has the formulas of all.
"""

import jax
import jax.numpy as jnp
import numpy as np

from yolojax.heads.yolov2 import Slots, slot_boxes, split
from yolojax.losses import targets as aiming
from yolojax.losses.assign import Assignment, assign
from yolojax.losses.boxes import BOX_TERMS
from yolojax.losses.candidates import ASSIGNMENTS
from yolojax.losses.classes import ClassTerm, flat_classes
from yolojax.losses.hierarchical import tree_classes
from yolojax.losses.metrics import slot_quality
from yolojax.losses.targets import Aims
from yolojax.losses.terms import (
    OBJECTNESS_TERMS,
    Square,
    check_gamma,
    darknet_cost,
    keep,
    reduce_terms,
    squared_error,
)
from yolojax.ops.boxes import xyxy_to_cxcywh
from yolojax.suggestions import choose


def region_loss(
    *,
    anchors,
    coord_weight: float = 1.0,
    object_weight: float = 5.0,
    noobject_weight: float = 1.0,
    class_weight: float = 1.0,
    box_loss: str = "squared",
    objectness_loss: str = "squared",
    class_loss: str = "cross_entropy",
    assignment: str = "prior",
    assign_threshold: float = 0.5,
    ignore: str = "prediction",
    ignore_threshold: float = 0.6,
    warmup_images: int = 12800,
    rescore: bool = True,
    small_box_weight: bool = True,
    focal_gamma: float = 2.0,
    label_smoothing: float = 0.0,
    class_weights=(),
    location: str = "sigmoid",
    class_activation: str = "softmax",
    tree=(),
    nodes=(),
    image_semantics: str = "darknet9000",
):
    """Make `loss(raw, batch, seen) -> (scalar, metrics)`; the defaults are yolov2-voc.cfg's.

    Args:
        anchors: [A, 2], (w, h) in grid cells.
        coord_weight: of the boxes of responsible slots.
        object_weight: of the objectness of responsible slots.
        noobject_weight: of the objectness of the others, which is drawn to 0.
        class_weight: of the classes of responsible slots.
        box_loss: a key of BOX_TERMS, what a box costs.
        objectness_loss: a key of OBJECTNESS_TERMS, what an objectness costs.
        class_loss: a key of CLASS_TERMS, what the classes cost.
        assignment: a key of ASSIGNMENTS, which slots are responsible for a truth.
        assign_threshold: IoU of shapes above which "priors_above" takes one prior more.
        ignore: "prediction", a box with a larger IoU than ignore_threshold with any truth keeps its
            objectness; "prior", a slot whose prior has it (SSD, Liu et al. 2016, "hard negatives"
            aside); "none", only responsible slots do.
        ignore_threshold: that of `ignore`.
        warmup_images: until so many were seen, boxes without a truth are drawn to their priors.
        rescore: the objectness target is the IoU of box and truth; False = 1.
        small_box_weight: weigh boxes by (2 - w * h); Darknet since 2018, not in the paper.
        focal_gamma: of objectness_loss "focal" and "quality_focal".
        label_smoothing: share of the class target that is spread over all classes.
        class_weights: a factor on the class term for each class; () = 1.
        location: a key of heads.yolov2.LOCATIONS, the model's.
        class_activation: a key of heads.yolov2.ACTIVATIONS, the model's.
        tree: the parent of each class, -1 for a root; () = the classes form no tree.
        nodes, image_semantics: of a tree, see `losses.hierarchical.tree_classes`.

    `loss` takes raw [B, H, W, A * (5 + C)]; a batch with boxes [B, M, 4] xyxy, labels [B, M] and
    mask [B, M]; and `seen`, the number of images trained on *including* this batch. The scalar is
    averaged over B. The metrics are scalars:

    * loss, loss_coord, loss_object, loss_noobject, loss_class: averaged over B;
    * darknet_cost: what Darknet prints as loss, sum(delta**2), averaged over B; where it has the
      terms;
    * avg_iou, recall50, recall75, objectness_on, class_prob: averaged over truths, 0 without any;
    * objectness_off: averaged over all slots (Darknet's "No Obj");
    * count: the number of truths;
    * with a tree, those of `tree_classes`.

    Raises:
        ValueError: an argument is unknown or out of its range.
    """
    anchors = _checked_anchors(anchors)
    box_cost = choose("loss.box_loss", box_loss, BOX_TERMS)
    object_cost = choose("loss.objectness_loss", objectness_loss, OBJECTNESS_TERMS)
    choose("loss.assignment", assignment, ASSIGNMENTS)
    choose("loss.ignore", ignore, aiming.IGNORES)
    check_gamma(objectness_loss, focal_gamma)
    flat = {
        "class_loss": class_loss,
        "label_smoothing": label_smoothing,
        "class_weights": class_weights,
    }
    if len(tree):
        _check_no_variant(flat)
        lesson = tree_classes(tree, nodes, image_semantics, class_weight, object_weight)
    else:
        lesson = flat_classes(class_weight, class_activation, **flat)

    def loss(raw, batch, seen):
        slots = split(raw, len(anchors), location)
        boxes = slot_boxes(slots, anchors, location)
        compared = aiming.prior_boxes(slots, anchors) if ignore == "prior" else None
        rule = {"rule": assignment, "threshold": assign_threshold}
        found = assign(boxes, anchors, batch, **rule, compared=compared)
        keep("found", found)

        on = found.responsible
        scale = coord_weight * (aiming.small_box_factor(found) if small_box_weight else 1.0)
        warm = jnp.where(seen < warmup_images, aiming.PRIOR_WEIGHT, 0.0)
        aims = Aims(
            box=scale * on,
            box_target=aiming.box_targets(slots, found, anchors, location),
            prior=warm * ~on,
            prior_target=aiming.prior_targets(anchors, location),
            object=object_weight * on,
            object_target=found.iou if rescore else jnp.ones_like(found.iou),
            noobject=noobject_weight * ~aiming.ignored(found, ignore, ignore_threshold),
        )
        aims, learnt, more = lesson(raw, slots, found, aims, batch)

        logit = slots.objectness_logit
        scalar, means = reduce_terms(
            {
                "coord": _coord(slots, boxes, found, aims, box_cost),
                "object": aims.object * object_cost(logit, aims.object_target, focal_gamma),
                "noobject": aims.noobject * object_cost(logit, 0.0, focal_gamma),
                "class": learnt.cost,
            }
        )
        metrics = {"loss": scalar} | {f"loss_{name}": mean for name, mean in means.items()}
        if box_loss == objectness_loss == "squared" and learnt.darknet_cost is not None:
            metrics["darknet_cost"] = _darknet_cost(slots, found, aims, learnt)
        metrics |= slot_quality(slots, found, learnt.class_prob) | more
        return scalar, jax.lax.stop_gradient(metrics)

    return loss


def _coord(slots: Slots, boxes, found: Assignment, aims: Aims, box_cost):
    """The box term of slots with a truth and the pull of the others to their priors, [B,H,W,A]."""
    on, values = found.responsible[..., None], aiming.box_values(slots)
    # Where nothing is to be learnt a box costs what its truth would, so that no value is too large.
    cost = box_cost(
        jnp.where(on, values, aims.box_target),
        aims.box_target,
        jnp.where(on, xyxy_to_cxcywh(boxes), found.boxes_cxcywh),
        found.boxes_cxcywh,
    )
    pull = squared_error(values, aims.prior_target, aims.prior[..., None])
    return aims.box * cost + jnp.sum(pull, axis=-1)


def _darknet_cost(slots: Slots, found: Assignment, aims: Aims, learnt: ClassTerm):
    on, values = found.responsible[..., None], aiming.box_values(slots)
    squares = [
        Square(
            values,
            jnp.where(on, aims.box_target, aims.prior_target),
            jnp.where(on, aims.box[..., None], aims.prior[..., None]),
        ),
        Square(slots.objectness, aims.object_target, aims.object),
        Square(slots.objectness, 0.0, aims.noobject),
    ]
    return darknet_cost(squares) + learnt.darknet_cost


def _checked_anchors(anchors) -> np.ndarray:
    """`anchors` as float32 [A, 2]; ValueError unless they are positive pairs."""
    anchors = np.asarray(anchors, np.float32)
    if anchors.ndim != 2 or anchors.shape[1] != 2 or not (anchors > 0).all():
        raise ValueError(
            "anchors must be pairs (w, h) of grid cells, both > 0, "
            f"got {anchors.tolist()}; `yolojax anchors` computes them from a data set."
        )
    return anchors


def _check_no_variant(flat: dict) -> None:
    """Raises ValueError where a variant is chosen that classes of a tree do not have."""
    usual = {"class_loss": "cross_entropy", "label_smoothing": 0.0, "class_weights": ()}
    for name, value in flat.items():
        if value != usual[name]:
            raise ValueError(
                f"config.loss.{name} is {value!r}, but the classes of a tree have no such variant; "
                f"leave it at {usual[name]!r}."
            )
