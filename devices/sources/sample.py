"""Recordings that come with the dependencies, so that a fresh install has something real to run on."""

from __future__ import annotations

import warnings
from pathlib import Path

from bedside.runtime.errors import SourceError

SAMPLES = ("echo-cine",)

_ECHO_CINE = "examples_ybr_color.dcm"


def echo_cine_path() -> Path:
    """The echocardiogram that pydicom ships: 30 frames of 320x240 at 30 fps, JPEG baseline (MIT licence).

    Raises:
        SourceError: The installed pydicom came without its test files.
    """
    from pydicom.data import get_testdata_file

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = get_testdata_file(_ECHO_CINE, download=False)
    if not isinstance(found, (str, Path)):
        raise SourceError(
            f"the installed pydicom has no {_ECHO_CINE}",
            where="sample:echo-cine",
            hint="reinstall pydicom from its wheel, or name a recording of your own",
        )
    return Path(found)
