"""Errors: one line each."""

import pytest

from keras_fsr.errors import DataError, FSRError, first_line


@pytest.mark.parametrize(
    ("message", "said"),
    [
        ("a.png: is bad; get another", "a.png: is bad; get another"),
        ("line\nbreak.png: is bad", "line break.png: is bad"),
        ("a\rb\x1b[2J\x00", "a b?[2J?"),
        ("caf\u00e9 \udcff.png", "caf\u00e9 ?.png"),  # a byte of a file name that is no UTF-8
        ("", ""),
        ("x" * 1000, "x" * 1000),
        ("a.yaml: " + "[" * 10**6 + " is bad", "a.yaml: " + "[" * 787 + " ... " + "[" * 193 + " is bad"),
    ],
)
def test_errors_are_one_line_that_any_terminal_can_show(message, said):
    assert str(FSRError(message)) == str(DataError(message)) == said


def test_the_first_line_of_others_errors():
    assert first_line(ValueError("one\ntwo")) == "one"
    assert first_line(KeyError()) == "KeyError"
