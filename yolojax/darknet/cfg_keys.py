"""Keys of a .cfg that are not read: of training, or with an effect on outputs, or misspelt.

Darknet ignores keys that it does not know ("Unused field"), and so a file may hold anything. Here a
key that may change the outputs of the network is a problem, and every other one is noted.
"""

import difflib
from collections.abc import Iterable

from yolojax.darknet.cfg_sections import NUMBER, SHAPE_KEYS, Section, bare
from yolojax.files import shorten

NEAR = 0.75  # difflib's ratio from which a key is a typing error of another; "anchros" has 0.86
# Keys of AlexeyAB/darknet's parser.c, and of its older versions, that only training, the display or
# the speed depend on.
TRAINING_KEYS = {
    # [net]
    "adam", "adversarial_lr", "attention", "augment_speed", "badlabels_reject_threshold",
    "badlabels_rejection_percentage", "batches_cycle_mult", "batches_per_cycle", "blur",
    "contrastive", "contrastive_color", "contrastive_jit_flip", "cutmix", "dynamic_minibatch",
    "ema_alpha", "equidistant_point", "gaussian_noise", "init_sequential_subdivisions",
    "label_smooth_eps", "learning_rate_min", "letter_box", "loss_scale", "max_chart_loss",
    "max_epochs", "mixup", "mosaic", "mosaic_bound", "num_sigmas_reject_badlabels",
    "optimized_memory", "resize_step", "seq_scales", "sequential_subdivisions", "sgdr_cycle",
    "sgdr_mult", "show_receptive_field", "small_object", "track", "try_fix_nan", "unsupervised",
    "use_cuda_graph", "weights_reject_freq", "workspace_size_limit_MB",
    # layers
    "angle", "assisted_excitation", "burnin_update", "dont_update", "dropblock",
    "dropblock_size_abs", "dropblock_size_rel", "exposure", "grad_centr", "saturation",
    "stream", "train_only_bn", "wait_stream",
    # heads
    "beta_nms", "cls_normalizer", "counters_per_class", "delta_normalizer", "dets_for_show",
    "dets_for_track", "embedding_layer", "focal_loss", "ignore_thresh", "iou_loss",
    "iou_normalizer", "iou_thresh", "iou_thresh_kind", "max_delta", "nms_kind",
    "obj_normalizer", "objectness_smooth", "resize", "save", "show_details", "sim_thresh",
    "track_ciou_norm", "track_history_size", "truth_thresh", "uc_normalizer",
}  # fmt: skip


def check_keys(
    section: Section,
    read: Iterable[str],
    fixed: dict[str, int | str],
    ignored: Iterable[str] = (),
) -> None:
    """Sort the keys of `section`: what may change outputs is a problem, the rest is noted.

    Args:
        section: the section.
        read: the keys whose values are used.
        fixed: keys that change outputs, each with the one value that is built here: a number, a
            word, or "=" and the key whose value it must have.
        ignored: keys of Darknet itself without effect here, which are not noted.
    """
    known, report = {*read, *fixed}, section.report
    for key, value in section.repeats:
        if key in known:
            first = section.values[key]
            rule = f"{shorten(key)} is {shorten(first.text)} in line {first.line} and "
            rule += f"{shorten(value.text)} here (Darknet takes the first); leave one of them out"
            report.refuse(value.line, rule)
    for key in section.values:
        if key in fixed:
            _check_fixed(section, key, fixed[key])
        elif key in known or key in ignored:
            continue
        elif key in TRAINING_KEYS:
            report.ignored.append(section.setting(key))
        elif near := _near(key, known):
            line = section.values[key].line
            rule = f"[{section.kind}] has no key {shorten(key)!r}"
            section.refused.add(near)  # that it is missing is no other problem
            report.refuse(line, rule, hint=f" Did you mean {near!r}?", shapes=near in SHAPE_KEYS)
        else:
            report.unknown.append(section.setting(key))


def _near(key: str, known: Iterable[str]) -> str | None:
    """Return the one of `known` that `key` is a typing error of; Darknet's keys are lower-case."""
    name = key[:60].lower().replace("-", "_")
    return next(iter(difflib.get_close_matches(name, list(known), n=1, cutoff=NEAR)), None)


def _check_fixed(section: Section, key: str, value: int | str) -> None:
    """Refuse `key` unless it has `value`; "=stride" is the value of that key, by default 1."""
    wanted = f"{key}={str(value).removeprefix('=')}"
    if wanted != f"{key}={value}":
        other = section.values.get(value[1:])
        value = bare(other.text) if other else 1
    if _equal(bare(section.values[key].text), str(value)):
        return
    section.refuse(key, f"it changes what is computed, and only {wanted} is built here")


def _equal(found: str, wanted: str) -> bool:
    if NUMBER.fullmatch(found) and NUMBER.fullmatch(wanted):
        return float(found) == float(wanted)
    return found == wanted


def check_required(section: Section, key: str, value: int) -> None:
    """Refuse `section` unless `key` is there; `value` is the one that is built here."""
    if key not in section.values:
        section.refuse(key, f"only {key}={value} is built here")
