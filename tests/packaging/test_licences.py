"""What a device installs is free of GPL and AGPL: by what packages declare, and by what their binaries say.

The policy, over every distribution that an install brings (device makers ship the whole set):

* A declared licence must be one of `PERMISSIVE`, in SPDX's spelling or in one that `SPELLINGS` translates.
  Every part of an expression counts. A distribution that declares nothing, or something unknown, fails until
  it is listed in `EVIDENCE` with the place that says what it is.
* A shared library that a wheel carries along (`*.libs/`, put there by auditwheel) must be in `CARRIED`: its
  licence is not the wheel's. The LGPL is accepted for FFmpeg inside OpenCV's wheel, and for what GCC's
  Fortran run-time library needs under OpenBLAS: separate files, which can be replaced.
* No native library may say of itself that it was built under the GPL.
"""

import importlib.util
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.packaging

HERE = Path(__file__).resolve().parent
PROBE = HERE / "probe_installed.py"

#: SPDX identifiers. MPL-2.0 binds its own files only.
PERMISSIVE = frozenset(
    {
        "Apache-2.0",
        "MIT",
        "MIT-0",
        "BSD-2-Clause",
        "BSD-3-Clause",
        "0BSD",
        "ISC",
        "Zlib",
        "CC0-1.0",
        "PSF-2.0",
        "MPL-2.0",
    }
)
#: Declarations from before SPDX expressions. "BSD License" leaves open which; all of them are permissive.
SPELLINGS = {
    "Apache 2.0": "Apache-2.0",
    "Apache Software License": "Apache-2.0",
    "MIT License": "MIT",
    "3-Clause BSD License": "BSD-3-Clause",
    "BSD License": "BSD-3-Clause",
    "FreeBSD": "BSD-2-Clause",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "Python Software Foundation License": "PSF-2.0",
}
#: Distributions whose metadata does not say enough: name to (SPDX identifier, where it is written).
EVIDENCE: dict[str, tuple[str, str]] = {}

OPENCV = "opencv-python-headless"
BOTH = frozenset({OPENCV, "numpy"})
#: Libraries that wheels carry along, by the start of their name: (licence, in which wheels, who says so).
CARRIED: dict[str, tuple[str, frozenset[str], str]] = {
    "libavcodec": ("LGPL-2.1-or-later", frozenset({OPENCV}), "the library itself"),
    "libavformat": ("LGPL-2.1-or-later", frozenset({OPENCV}), "the library itself"),
    "libavutil": ("LGPL-2.1-or-later", frozenset({OPENCV}), "the library itself"),
    "libswresample": ("LGPL-2.1-or-later", frozenset({OPENCV}), "the library itself"),
    "libswscale": ("LGPL-2.1-or-later", frozenset({OPENCV}), "the library itself"),
    "libvpx": ("BSD-3-Clause", frozenset({OPENCV}), "OpenCV's LICENSE-3RD-PARTY.txt"),
    "libaom": ("BSD-2-Clause", frozenset({OPENCV}), "OpenCV's LICENSE-3RD-PARTY.txt"),
    "libavif": ("BSD-2-Clause", frozenset({OPENCV}), "OpenCV's LICENSE-3RD-PARTY.txt"),
    "libpng16": ("libpng-2.0", frozenset({OPENCV}), "OpenCV's LICENSE-3RD-PARTY.txt"),
    "libdrm": ("MIT", frozenset({OPENCV}), "the head of its source files, xf86drm.c"),
    "libcrypto": ("OpenSSL", frozenset({OPENCV, "python-gdcm"}), "OpenCV's LICENSE-3RD-PARTY.txt (1.1.1)"),
    "libssl": ("OpenSSL", frozenset({OPENCV, "python-gdcm"}), "OpenCV's LICENSE-3RD-PARTY.txt (1.1.1)"),
    "libopenblas": ("BSD-3-Clause", BOTH, "numpy's LICENSE.txt"),
    "libscipy_openblas": ("BSD-3-Clause", frozenset({"numpy"}), "numpy's LICENSE.txt"),
    # GCC's Fortran run-time library: its exception lets it be shipped beside anything.
    "libgfortran": ("GPL-3.0-or-later WITH GCC-exception-3.1", BOTH, "numpy's LICENSE.txt"),
    "libquadmath": ("LGPL-2.1-or-later", BOTH, "numpy's LICENSE.txt"),
}
FFMPEG = "lib(?:avcodec|avformat|avutil|swresample|swscale)-"


def declared(package: dict[str, Any]) -> set[str]:
    """What a distribution says of itself, each statement as SPDX identifiers where it is known."""
    if package["name"] in EVIDENCE:
        return {EVIDENCE[package["name"]][0]}
    statements = set(package["classifiers"])
    if package["expression"]:
        statements.add(package["expression"])
    elif package["license"] and "\n" not in package["license"].strip():  # else: the whole text
        statements.add(package["license"].strip().removeprefix("OSI Approved :: "))
    licences: set[str] = set()
    for statement in statements:
        parts = set(re.split(r" (?:AND|OR) |[()]", statement)) - {""}
        if statement == package["expression"] or parts <= PERMISSIVE:
            licences |= parts
        else:
            licences.add(SPELLINGS.get(statement, statement))
    return licences


def complaints(packages: list[dict[str, Any]]) -> list[str]:
    """Everything in an installed set that the policy does not accept."""
    found = []
    for package in packages:
        licences = declared(package)
        if not licences:
            found.append(f"{package['name']} declares no licence")
        found += [f"{package['name']}: {licence}" for licence in sorted(licences - PERMISSIVE)]
        for native in package["natives"]:
            folder, _, file = native["path"].rpartition("/")
            found += [f"{package['name']}: {file} says {trace!r}" for trace in native["traces"]]
            if folder.endswith(".libs"):
                carried = [entry for start, entry in CARRIED.items() if re.match(rf"{start}[\w.]*-", file)]
                if not any(package["name"] in entry[1] for entry in carried):
                    found.append(f"{package['name']} carries {file}, whose licence nobody has looked up")
    return found


def installed(environment: Any, cwd: Path) -> list[dict[str, Any]]:
    """What the install brought: everything but pip, which made it."""
    packages = json.loads(environment.run(environment.python, PROBE, cwd=cwd).stdout)
    return sorted((p for p in packages if p["name"] != "pip"), key=lambda p: -p["bytes"])


@pytest.mark.parametrize(
    "extras", [(), ("onnx", "openvino"), ("tflite", "test")], ids=["base", "engines", "tflite"]
)
def test_installed_set(
    environment: Callable[..., Any], note: Callable[[str, str], None], tmp_path: Path, extras: tuple[str, ...]
) -> None:
    packages = installed(environment("3.11", *extras), tmp_path)
    names = {package["name"] for package in packages}
    assert {"bedside", "numpy", OPENCV, "msgspec", "ai-edge-litert", "pydicom"} <= names
    assert complaints(packages) == []
    # The search through binaries has read them: FFmpeg says there that it keeps to the LGPL.
    natives = [native for package in packages for native in package["natives"]]
    ffmpeg = [native for native in natives if re.search(FFMPEG, native["path"])]
    assert len(ffmpeg) >= 4
    assert all(native["lesser"] == ["LGPL version 2.1 or later"] for native in ffmpeg)
    if not extras:
        sizes = [
            (p["bytes"], f"{p['name']} {p['version']} ({', '.join(sorted(declared(p)))})") for p in packages
        ]
        sizes.append((sum(size for size, _ in sizes), f"in all {len(packages)}"))
        note("size of the base install", "\n".join(f"{size / 1e6:8.1f} MB  {what}" for size, what in sizes))


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"expression": "GPL-3.0-or-later"}, "GPL-3.0-or-later"),
        ({"expression": "MIT AND AGPL-3.0-only"}, "AGPL-3.0-only"),
        ({"expression": "(MIT OR LGPL-2.1-only)"}, "LGPL-2.1-only"),
        ({"expression": None, "classifiers": ["GNU General Public License v3 (GPLv3)"]}, "GPLv3"),
        ({"expression": None, "license": "see the web site"}, "see the web site"),
        ({"expression": None}, "declares no licence"),
        ({"natives": [{"path": "x.libs/libx264-0123abcd.so.164", "traces": []}]}, "nobody has looked up"),
        ({"natives": [{"path": "x.libs/libavcodec-0123abcd.so.60", "traces": []}]}, "nobody has looked up"),
        ({"natives": [{"path": "x/y.so", "traces": ["--enable-gpl"]}]}, "--enable-gpl"),
    ],
)
def test_policy(change: dict[str, Any], complaint: str) -> None:
    package = {"name": "x", "expression": "MIT", "license": None, "classifiers": [], "natives": []}
    assert complaints([package]) == []
    found = complaints([{**package, **change}])
    assert len(found) == 1
    assert complaint in found[0]


@pytest.mark.parametrize(
    "banner",
    [
        b"configuration: --prefix=/x --enable-gpl --enable-libx264",
        b"libavcodec license: GPL version 3 or later",
        b"x264 - core %d - H.264/MPEG-4 AVC codec - Copyleft 2003-2024 - http://www.videolan.org/x264.html",
        b"under the terms of the GNU Affero General Public License, version 3",
    ],
)
@pytest.mark.parametrize("offset", [0, (1 << 24) - 20])
def test_a_build_under_the_gpl_is_seen(tmp_path: Path, banner: bytes, offset: int) -> None:
    spec = importlib.util.spec_from_file_location("probe_installed", PROBE)
    assert spec is not None
    assert spec.loader is not None
    probe = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(probe)
    library = tmp_path / "library.so"
    library.write_bytes(b"\x7fELF" + bytes(offset) + banner + b"\0")
    assert probe.is_native(library)
    assert probe.search(library)["traces"]


def test_the_probe_needs_only_the_standard_library() -> None:
    done = subprocess.run(
        [sys.executable, "-I", "-S", str(PROBE)], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
