"""Run in an environment of its own: what is installed, under which licence, how big, with which libraries.

Prints a JSON list with one object per distribution. Needs nothing but the standard library.
"""

import importlib.metadata
import json
import re
import sys
from pathlib import Path

#: Read in pieces of this many bytes, with an overlap: some libraries have 100 MB.
PIECE = 1 << 24
OVERLAP = 1 << 8

#: What a build under the GPL says of itself: FFmpeg's configuration and licence strings, the banners of x264
#: and x265 (`x264 - core` alone is in every FFmpeg, which looks for it in streams), licence notices.
TRACES = re.compile(
    rb"--enable-(?:gpl|nonfree)"
    rb"|license: (?:GPL|nonfree)[^\0]{0,40}"
    rb"|videolan\.org/x264|x265 \[info\]|x265 \(build"
    rb"|GNU (?:Affero )?General Public License[^\0]{0,40}"
)
#: What an FFmpeg that keeps to the LGPL says: proof that the search reads what it should.
LESSER = re.compile(rb"license: (LGPL[^\0]{0,40})")


def search(path: Path) -> dict[str, list[str]]:
    """Licence traces in a native library."""
    found: dict[str, set[str]] = {"traces": set(), "lesser": set()}
    with path.open("rb") as stream:
        tail = b""
        while piece := stream.read(PIECE):
            text = tail + piece
            found["traces"].update(match[0].decode("latin-1") for match in TRACES.finditer(text))
            found["lesser"].update(match[1].decode("latin-1") for match in LESSER.finditer(text))
            tail = text[-OVERLAP:]
    return {kind: sorted(values) for kind, values in found.items()}


def is_native(path: Path) -> bool:
    """Whether a file is an ELF, Mach-O or PE binary."""
    with path.open("rb") as stream:
        start = stream.read(4)
    return start in (b"\x7fELF", b"\xcf\xfa\xed\xfe", b"\xca\xfe\xba\xbe") or start[:2] == b"MZ"


def describe(distribution: importlib.metadata.Distribution) -> dict[str, object]:
    """One distribution."""
    metadata = distribution.metadata
    files = [Path(str(distribution.locate_file(file))) for file in distribution.files or ()]
    files = [file for file in files if file.is_file()]
    # A library may be there under three names, as a link or as a copy: each counts for the size it takes.
    natives = [file for file in files if file.suffix != ".py" and file.stat().st_size > 4 and is_native(file)]
    classifiers = metadata.get_all("Classifier") or []
    return {
        "name": metadata["Name"],
        "version": distribution.version,
        "bytes": sum(file.lstat().st_size for file in files),
        "expression": metadata.get("License-Expression"),
        "license": metadata.get("License"),
        "classifiers": [c.rpartition(" :: ")[2] for c in classifiers if c.startswith("License :: ")],
        "natives": [{"path": "/".join(file.parts[-2:]), **search(file)} for file in natives],
    }


if __name__ == "__main__":
    json.dump([describe(distribution) for distribution in importlib.metadata.distributions()], sys.stdout)
