import pytest

from yolojax.text_table import text_table

HEADER = ("class", "AP", "images")
ROWS = [["cat", "66.7", "2"], ["aeroplane", "100.0", ""]]


def test_first_column_is_left_and_the_others_right():
    assert text_table(HEADER, ROWS).splitlines() == [
        "class         AP  images",
        "cat         66.7       2",
        "aeroplane  100.0",
    ]


def test_every_column_has_its_alignment():
    assert text_table((), ROWS, "><>").splitlines() == [
        "      cat  66.7   2",
        "aeroplane  100.0",
    ]


def test_markdown_has_a_rule_with_the_alignment():
    assert text_table(HEADER, ROWS, markdown=True).splitlines() == [
        "| class     |    AP | images |",
        "| --------- | ----: | -----: |",
        "| cat       |  66.7 |      2 |",
        "| aeroplane | 100.0 |        |",
    ]


def test_rows_must_have_a_cell_for_every_column():
    with pytest.raises(ValueError, match="zip"):
        text_table(HEADER, [["cat"]])
