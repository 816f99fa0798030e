"""The best checkpoint: by one metric on one data set."""

from dataclasses import replace
from typing import Any, NamedTuple

from yolojax.config import Config, DataConfig, EvalConfig
from yolojax.training import ranking
from yolojax.training.ranking import BestOfEachRanking, Scored, best, is_same, ranking_of, scored

VAL = {"pictures": 5, "boxes": 9, "digest": "a"}
VOC = ranking_of(Config(), VAL)
COCO = ranking_of(Config(eval=EvalConfig(metric="coco_AP")), VAL)


class Info(NamedTuple):
    """A checkpoint as Orbax shows it to a policy."""

    step: int
    metrics: Any


def test_the_best_of_the_newest_ranking_is_chosen():
    """voc10 of 0.9 and coco_AP of 0.4 are not compared."""
    assert best([]) is None
    assert best([Scored(1, 0.9, VOC), Scored(2, 0.8, VOC)]).step == 1
    assert best([Scored(1, 0.9, VOC), Scored(2, 0.4, COCO), Scored(3, 0.3, COCO)]).step == 2
    assert best([Scored(1, 0.5, VOC), Scored(2, 0.5, VOC)]).step == 2
    assert best([Scored(1, 0.9, VOC), Scored(2, 0.4, COCO), Scored(3, 0.3, VOC)]).step == 1


def test_a_score_whose_ranking_is_not_known_fits_any_other():
    assert best([Scored(1, 0.9, {}), Scored(2, 0.8, VOC)]).step == 1
    assert best([Scored(1, 0.9, ranking_of(Config())), Scored(2, 0.8, VOC)]).step == 1
    assert best([Scored(1, 0.9, ranking_of(Config())), Scored(2, 0.8, COCO)]).step == 2
    assert is_same({"eval.metric": "voc10", "of a later version": 1}, VOC)


def test_everything_that_changes_the_number_changes_the_ranking():
    others = [
        ranking_of(Config(data=DataConfig(val="voc:x")), VAL),
        ranking_of(Config(data=DataConfig(letterbox=False)), VAL),
        ranking_of(Config(eval=EvalConfig(score_threshold=0.1)), VAL),
        ranking_of(Config(), VAL | {"digest": "b"}),
        COCO,
    ]
    assert not any(is_same(VOC, other) for other in others)
    same = Config(eval=EvalConfig(every_images=7, batch_size=1, bootstrap=0), seed=3)
    assert is_same(VOC, ranking_of(replace(same, data=DataConfig(train="voc:x")), VAL))
    (difference,) = ranking.differences(VOC, COCO)
    assert difference == ("eval.metric", "voc10", "coco_AP")


def test_metrics_without_a_usable_score_are_not_scored():
    for metrics in (None, {}, {"score": -1.0}, {"score": None}, {"score": "0.5"}, [0.5]):
        assert scored(1, metrics) is None
    assert scored(1, {"score": 0.0, "ranking": 5}) == Scored(1, 0.0, {})


def test_the_best_of_each_ranking_is_kept():
    checkpoints = [
        Info(1, {"score": 0.2, "ranking": VOC}),
        Info(2, {"score": 0.9, "ranking": VOC}),
        Info(3, {"score": -1.0}),
        Info(4, {"score": 0.4, "ranking": COCO}),
        Info(5, {"score": 0.3, "ranking": COCO}),
        Info(6, None),
    ]
    kept = BestOfEachRanking().should_preserve(checkpoints, context=None)
    assert kept == [False, True, False, True, False, False]
