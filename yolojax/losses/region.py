"""The loss of YOLOv2 and YOLO9000 (Darknet's region_layer.c; the paper gives no formula).

It has four terms over all anchor positions: coord, object, noobject and class. With the default
variants its gradient with respect to `raw` is Darknet's delta, negated and divided by the batch
size. docs/losses.md has all formulas.
"""

import jax.numpy as jnp
import numpy as np

from yolojax.heads.yolov2 import AnchorOutputs, decode_boxes, split
from yolojax.losses.hierarchical import tree_class_term
from yolojax.losses.matcher import ASSIGNMENTS, Assignment, assign
from yolojax.losses.metrics import detection_metrics
from yolojax.losses.targets import (
    IGNORES,
    PRIOR_WEIGHT,
    Targets,
    box_targets,
    box_values,
    ignored,
    prior_boxes,
    prior_targets,
    small_box_factor,
)
from yolojax.losses.terms import (
    BOX_TERMS,
    OBJECTNESS_TERMS,
    ClassTerm,
    LossTerms,
    Square,
    SumOfTerms,
    check_gamma,
    darknet_cost,
    flat_class_term,
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
    image_semantics: str = "darknet9000",
) -> SumOfTerms:
    """Make `loss(raw, batch, seen) -> (scalar, metrics)`; the defaults are yolov2-voc.cfg's.

    Args:
        anchors: [A, 2], (w, h) in grid cells.
        coord_weight: weight of the boxes of responsible positions.
        object_weight: weight of the objectness of responsible positions.
        noobject_weight: weight of the objectness of the others, whose target is 0.
        class_weight: weight of the classes of responsible positions.
        box_loss: a key of BOX_TERMS.
        objectness_loss: a key of OBJECTNESS_TERMS.
        class_loss: a key of CLASS_TERMS.
        assignment: a key of ASSIGNMENTS, the positions that are responsible for a box.
        assign_threshold: IoU of shapes above which "priors_above" takes a further prior.
        ignore: which positions have no objectness target besides the responsible ones:
            "prediction", those whose predicted box has an IoU above ignore_threshold with a
            ground-truth box; "prior", those whose prior has (SSD, Liu et al. 2016, without its
            hard negative mining); "none".
        ignore_threshold: threshold of `ignore`.
        warmup_images: until this many are seen, boxes of other positions are pulled to their
            priors.
        rescore: the objectness target is the IoU of predicted and ground-truth box; False: 1.
        small_box_weight: weight boxes by 2 - w * h; Darknet since 2018, not in the paper.
        focal_gamma: exponent of the "focal" and "quality_focal" objectness.
        label_smoothing: share of the class target that is spread over all classes.
        class_weights: a factor on the class term for each class; () means 1.
        location: a key of heads.yolov2.LOCATIONS, as in the model.
        class_activation: a key of heads.yolov2.ACTIVATIONS, as in the model.
        tree: the parent of each class, -1 for a root; () if the classes form no tree.
        image_semantics: with a tree, see `losses.hierarchical.tree_class_term`.

    `loss` takes raw [B, H, W, A * (5 + C)]; a batch with boxes [B, M, 4] xyxy, labels [B, M] and
    mask [B, M]; and `seen`, the number of training images *including* this batch. The scalar is
    averaged over B. The metrics are scalars:

    * loss, loss_coord, loss_object, loss_noobject, loss_class: averaged over B;
    * darknet_cost: the loss that Darknet prints, sum(delta**2) / B, if Darknet has these terms;
    * avg_iou, recall50, recall75, objectness_on, class_prob: means over ground-truth boxes, 0
      without any;
    * objectness_off: mean over all positions (Darknet's "No Obj");
    * count: the number of ground-truth boxes;
    * with a tree, those of `tree_class_term`.

    Raises:
        ValueError: an argument is unknown or out of range.
    """
    anchors = _checked_anchors(anchors)
    box_cost = choose("loss.box_loss", box_loss, BOX_TERMS)
    object_cost = choose("loss.objectness_loss", objectness_loss, OBJECTNESS_TERMS)
    choose("loss.assignment", assignment, ASSIGNMENTS)
    choose("loss.ignore", ignore, IGNORES)
    check_gamma(objectness_loss, focal_gamma)
    flat = {
        "class_loss": class_loss,
        "label_smoothing": label_smoothing,
        "class_weights": class_weights,
    }
    if len(tree):
        _check_no_variant(flat)
        class_term = tree_class_term(tree, image_semantics, class_weight, object_weight)
    else:
        class_term = flat_class_term(class_weight, class_activation, **flat)
    rule, rule_threshold = assignment, assign_threshold

    def terms(raw, batch, seen) -> LossTerms:
        outputs = split(raw, len(anchors), location)
        boxes = decode_boxes(outputs, anchors, location)
        compared = prior_boxes(outputs, anchors) if ignore == "prior" else None
        assignment = assign(
            boxes, anchors, batch, rule=rule, threshold=rule_threshold, compared=compared
        )

        responsible = assignment.responsible
        scale = coord_weight * (small_box_factor(assignment) if small_box_weight else 1.0)
        warmup = jnp.where(seen < warmup_images, PRIOR_WEIGHT, 0.0)
        targets = Targets(
            box=scale * responsible,
            box_target=box_targets(outputs, assignment, anchors, location),
            prior=warmup * ~responsible,
            prior_target=prior_targets(anchors, location),
            object=object_weight * responsible,
            object_target=assignment.iou if rescore else jnp.ones_like(assignment.iou),
            noobject=noobject_weight * ~ignored(assignment, ignore, ignore_threshold),
        )
        targets, classes, tree_metrics = class_term(raw, outputs, assignment, targets, batch)

        logit = outputs.objectness_logit
        metrics = {}
        if box_loss == objectness_loss == "squared" and classes.darknet_cost is not None:
            metrics["darknet_cost"] = _darknet_cost(outputs, assignment, targets, classes)
        metrics |= detection_metrics(outputs, assignment, classes.class_prob) | tree_metrics
        return LossTerms(
            {
                "coord": _coord(outputs, boxes, assignment, targets, box_cost),
                "object": targets.object * object_cost(logit, targets.object_target, focal_gamma),
                "noobject": targets.noobject * object_cost(logit, 0.0, focal_gamma),
                "class": classes.cost,
            },
            metrics,
            assignment,
        )

    return SumOfTerms(terms)


def _coord(outputs: AnchorOutputs, boxes, assignment: Assignment, targets: Targets, box_cost):
    """Compute the box term of responsible positions and the pull of the others, [B, H, W, A]."""
    responsible, values = assignment.responsible[..., None], box_values(outputs)
    # Other positions get the cost of a perfect box: 0 * a value that is too large would be NaN.
    cost = box_cost(
        jnp.where(responsible, values, targets.box_target),
        targets.box_target,
        jnp.where(responsible, xyxy_to_cxcywh(boxes), assignment.boxes_cxcywh),
        assignment.boxes_cxcywh,
    )
    pull = squared_error(values, targets.prior_target, targets.prior[..., None])
    return targets.box * cost + jnp.sum(pull, axis=-1)


def _darknet_cost(
    outputs: AnchorOutputs, assignment: Assignment, targets: Targets, classes: ClassTerm
):
    responsible, values = assignment.responsible[..., None], box_values(outputs)
    squares = [
        Square(
            values,
            jnp.where(responsible, targets.box_target, targets.prior_target),
            jnp.where(responsible, targets.box[..., None], targets.prior[..., None]),
        ),
        Square(outputs.objectness, targets.object_target, targets.object),
        Square(outputs.objectness, 0.0, targets.noobject),
    ]
    return darknet_cost(squares) + classes.darknet_cost


def _checked_anchors(anchors) -> np.ndarray:
    """Return `anchors` as float32 [A, 2]; raise ValueError unless they are positive pairs."""
    anchors = np.asarray(anchors, np.float32)
    if anchors.ndim != 2 or anchors.shape[1] != 2 or not (anchors > 0).all():
        raise ValueError(
            "anchors must be pairs (w, h) of grid cells, both > 0, "
            f"got {anchors.tolist()}; `yolojax anchors` computes them from a data set."
        )
    return anchors


def _check_no_variant(flat: dict) -> None:
    """Raise ValueError if a variant is chosen that the classes of a tree do not have."""
    defaults = {"class_loss": "cross_entropy", "label_smoothing": 0.0, "class_weights": ()}
    for name, value in flat.items():
        if value != defaults[name]:
            raise ValueError(
                f"config.loss.{name} is {value!r}, but the classes of a tree have no such variant; "
                f"leave it at {defaults[name]!r}."
            )
