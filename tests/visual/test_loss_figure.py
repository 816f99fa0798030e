import numpy as np
import pytest

from yolojax.visual import loss_figure
from yolojax.visual.loss_figure import LossView, Responsible, draw_loss, table_of

NOTHING = (np.zeros((0, 4)), np.zeros(0, int), np.zeros(0))


def a_view(**changes):
    """Two ground-truth boxes in a grid of 2 x 4; one of them is assigned."""
    image = np.random.default_rng(0).integers(0, 255, (64, 128, 3), np.uint8)
    view = LossView(
        title="run · picture 7 · step 3 · loss 4",
        image=image,
        classes=("cat", "a dog with a long name"),
        boxes=np.array([[0.3, 0.1, 0.5, 0.5], [0.6, 0.2, 0.9, 0.8]]),
        labels=np.array([0, 1]),
        drawn_as="anchor",
        responsible=Responsible(
            gt_index=np.array([0]),
            cell=np.array([[0, 1]]),
            anchor=np.array([2]),
            boxes=np.array([[0.25, 0.05, 0.5, 0.45]]),
            iou=np.array([0.75]),
        ),
        terms={
            "coord": (3.0, np.array([[0, 3.0, 0, 0], [0, 0, 0, 0]])),
            "class": (1.0, np.array([[0, 1.0, 0, 0], [0, 0, 0, 0]])),
        },
        objectness=np.linspace(0, 1, 8).reshape(2, 4),
        detections=(np.array([[0.3, 0.1, 0.5, 0.5]]), np.array([0]), np.array([0.5])),
    )
    return view._replace(**changes)


@pytest.fixture
def figure_of(monkeypatch):
    """view -> the matplotlib figure instead of its pixels."""
    monkeypatch.setattr(loss_figure, "_pixels", lambda figure: figure)
    return draw_loss


def titles(figure):
    return [axes.get_title() for axes in figure.axes if axes.get_title()]


def heat_of(figure, title):
    (axes,) = (axes for axes in figure.axes if axes.get_title().startswith(title))
    return axes.images[-1]


def texts(figure):
    return "\n".join(text.get_text() for axes in figure.axes for text in axes.texts)


def test_the_figure_does_not_change_the_image():
    view = a_view()
    before = view.image.copy()
    drawn = draw_loss(view)
    assert drawn.dtype == np.uint8
    assert drawn.ndim == 3
    assert drawn.shape[2] == 3
    np.testing.assert_array_equal(view.image, before)


def test_terms_have_their_value_and_share(figure_of):
    figure = figure_of(a_view())
    assert titles(figure)[4:] == ["coord: 3, 75.0% of the sum", "class: 1, 25.0% of the sum"]
    assert figure.get_suptitle() == "run · picture 7 · step 3 · loss 4"


def test_maps_share_a_scale_and_are_clear_without_cost(figure_of):
    figure = figure_of(a_view())
    coord, of_class = heat_of(figure, "coord"), heat_of(figure, "class")
    assert coord.get_clim() == of_class.get_clim() == pytest.approx((3e-4, 3))
    assert coord.get_array()[0, 1] == 3
    assert coord.get_array().mask.sum() == 7


def test_objectness_is_shown_from_0_to_1(figure_of):
    heat = heat_of(figure_of(a_view()), "objectness")
    assert heat.get_clim() == (0, 1)
    np.testing.assert_array_equal(heat.get_array(), np.linspace(0, 1, 8).reshape(2, 4))


def test_the_table_has_each_assigned_position():
    head, first, second = table_of(a_view())
    assert "w, h/anchor" in head
    # Its centre (.4, .3) is 1.6 columns and .6 rows into the grid; it is .8 x 1 of its anchor.
    assert first.split() == ["0", "cat", "0,1", "2", "0.75", "0.60", "0.60", "0.80", "1.00"]
    assert second == " 1 a dog with a … none"


def test_without_anchors_sizes_are_those_of_the_picture():
    head, first, _ = table_of(a_view(drawn_as="predicted box"))
    assert "anchor" not in head
    assert first.split()[-2:] == ["0.20", "0.40"]


def test_a_long_table_is_cut(figure_of):
    many = np.tile([[0.3, 0.1, 0.5, 0.5]], (60, 1))
    figure = figure_of(a_view(boxes=many, labels=np.zeros(60, int)))
    table = texts(figure).split(" # class")[1]
    rows = table.split("...")[0].count("\n") - 1
    assert f"... and {60 - rows} more" in table
    assert 5 < rows < 60


def test_a_loss_without_terms_and_assignment(figure_of):
    figure = figure_of(a_view(terms={}, responsible=None))
    assert "no recorded terms" in texts(figure)
    assert "no assignment" in texts(figure)
    assert "0 cat" in texts(figure)


def test_a_term_without_cells_has_its_value(figure_of):
    figure = figure_of(a_view(terms={"whole": (2.0, None)}))
    assert titles(figure)[4:] == ["whole: 2, 100.0% of the sum"]
    assert "no values for cells" in texts(figure)


@pytest.mark.parametrize("value", [0.0, -1.0, np.nan, np.inf])
def test_pictures_without_boxes_and_terms_without_positive_values_are_drawn(value):
    empty = Responsible(*(x[:0] for x in a_view().responsible))
    drawn = draw_loss(
        a_view(
            boxes=np.zeros((0, 4)),
            labels=np.zeros(0, int),
            responsible=empty,
            detections=NOTHING,
            objectness=np.full((2, 4), value),
            terms={"coord": (value, np.full((2, 4), value / 8))},
        )
    )
    assert drawn.std() > 0


def test_notes_are_below(figure_of):
    figure = figure_of(a_view(notes=("2 more truths", "and this")))
    assert figure.get_supxlabel() == "2 more truths\nand this"
