import logging
import os
import sys
import warnings

import pytest

from bedside.export.convert.quiet import gist, quiet


def test_everything_is_turned_away_and_comes_back(capfd: pytest.CaptureFixture[str]) -> None:
    with quiet() as written:
        os.write(1, b"from C to stdout\n")
        os.write(2, b"from C to stderr\n")
        sys.stdout.write("from Python\n")
        warnings.warn("a converter's warning", stacklevel=1)
        logging.getLogger("tensorflow").warning("a converter's log line")
        seen = written()
    assert {"from C to stdout", "from C to stderr", "from Python"} <= set(seen.splitlines())
    os.write(1, b"after\n")
    sys.stderr.write("after too\n")
    out, err = capfd.readouterr()
    assert (out, err) == ("after\n", "after too\n")


def test_it_comes_back_after_an_error(capfd: pytest.CaptureFixture[str]) -> None:
    level = logging.getLogger("absl").level
    with pytest.raises(KeyboardInterrupt), quiet():
        raise KeyboardInterrupt
    os.write(2, b"after\n")
    assert capfd.readouterr().err == "after\n"
    assert logging.getLogger("absl").level == level


@pytest.mark.parametrize(
    ("text", "log", "said"),
    [
        (
            "Could not translate",
            "error: 'tf.Roll' op is neither a custom op nor a flex op\n"
            "error: 'tf.Erfc' op is neither a custom op nor a flex op\n"
            "error: 'tf.Roll' op is neither a custom op nor a flex op",
            "no TFLite kernel for tf.Erfc, tf.Roll",
        ),
        ("No Op registered for Erfc with domain_version of 17", "", "no ONNX operator for Erfc"),
        ("Tensorflow op [a/b: Roll] is not supported", "", "no ONNX operator for Roll"),
        ("first\nsecond", "", "ValueError: first"),
        ("", "", "ValueError"),
    ],
)
def test_gist_is_one_line(text: str, log: str, said: str) -> None:
    assert gist(ValueError(text), log) == said
