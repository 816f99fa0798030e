"""Class names in scripts that the default font does not have."""

import cv2
import numpy as np
import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen

from yolojax.visual import fonts
from yolojax.visual.draw import draw_boxes
from yolojax.visual.figures import new_figure, save_figure


def write_font(path, letters):
    """A font in which every letter is the same filled square."""
    pen = TTGlyphPen(None)
    for point, draw in zip(
        [(50, 0), (50, 700), (750, 700), (750, 0)], [pen.moveTo] + 3 * [pen.lineTo], strict=True
    ):
        draw(point)
    pen.closePath()
    square, names = pen.glyph(), [".notdef", "square"]
    font = FontBuilder(1000, isTTF=True)
    font.setupGlyphOrder(names)
    font.setupCharacterMap({ord(letter): "square" for letter in letters})
    font.setupGlyf(dict.fromkeys(names, square))
    font.setupHorizontalMetrics(dict.fromkeys(names, (800, 50)))
    font.setupHorizontalHeader(ascent=800, descent=-200)
    font.setupNameTable({"familyName": "Squares", "styleName": "Regular"})
    font.setupOS2()
    font.setupPost()
    path.parent.mkdir(parents=True, exist_ok=True)
    font.save(path)
    return str(path)


@pytest.fixture
def system(tmp_path, monkeypatch):
    """The folder of the fonts of the system, at first with a damaged one only."""
    caches = fonts.font_for, fonts._system_fonts, fonts._letters
    folder = tmp_path / "fonts"
    (folder / "a").mkdir(parents=True)
    (folder / "a" / "damaged.ttf").write_bytes(b"OTTO")
    monkeypatch.setattr(fonts, "FOLDERS", (str(folder),))
    monkeypatch.setattr(fonts, "_said", [])
    for cache in caches:
        cache.cache_clear()
    yield folder
    for cache in caches:
        cache.cache_clear()


def test_a_font_of_the_system_has_what_the_default_lacks(system, capsys):
    write_font(system / "latin.ttf", "abc0123456789.")
    squares = write_font(system / "b" / "Squares.ttf", "人狗 0123456789.")
    assert fonts.font_for("人狗") == fonts.font_for("人 2.") == squares
    for name in ("dog", "Größe", "собака", "σκύλος"):
        assert fonts.font_for(name) == fonts.default_font()
    assert capsys.readouterr().err == ""


def test_a_missing_font_is_said_once(system, capsys):
    assert fonts.font_for("人") == fonts.font_for("狗") == fonts.default_font()
    assert capsys.readouterr().err.count("no font on this system has all letters of '人'") == 1


def test_labels_are_drawn_in_that_font(system):
    image, box = np.zeros((60, 200, 3), np.uint8), [[0, 0, 200, 60]]
    boxes = draw_boxes(image, box, [0], [0.5], ["人"])
    fonts.font_for.cache_clear()
    fonts._system_fonts.cache_clear()
    write_font(system / "Squares.ttf", "人0123456789. ")
    squares = draw_boxes(image, box, [0], [0.5], ["人"])
    assert not np.array_equal(squares, boxes)


@pytest.mark.parametrize("name", ["two\nlines", "\ud800", "a\0b", ""])
def test_any_class_name_is_drawn(name):
    image = np.zeros((60, 200, 3), np.uint8)
    assert draw_boxes(image, [[0, 0, 200, 60]], [0], [0.5], [name]).any()


def test_figures_use_that_font(system, tmp_path, recwarn):
    pictures = []
    for _ in range(2):
        figure, (axes,) = new_figure(1, size=(2, 2))
        axes.barh([0], [1], tick_label=["人"])
        axes.set_title("title")
        save_figure(figure, tmp_path / "a.png")
        pictures.append(cv2.imread(str(tmp_path / "a.png")))
        fonts.font_for.cache_clear()
        fonts._system_fonts.cache_clear()
        write_font(system / "Squares.ttf", "人0123456789.")
    assert pictures[0].shape != pictures[1].shape or not np.array_equal(*pictures)
    assert not [one for one in recwarn if "missing from" in str(one.message)]
