"""Synthetic ultrasound, endoscopy, and what is neither, as a source with ground truth."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Literal, cast

import msgspec

from bedside.devices.sources.uri import (
    frame_size,
    parse_query,
    positive_integer,
    positive_number,
    read_options,
)
from bedside.runtime.clock import Clock
from bedside.runtime.errors import SourceError, UsageError
from bedside.runtime.frame import Color, Frame, FramePool, Region
from bedside.runtime.protocols import SourceInfo
from bedside.runtime.source_base import SourceBase
from bedside.runtime.synthetic import (
    PATTERNS,
    ClassesScene,
    EndoscopyScene,
    LoopedScene,
    PatternKind,
    PatternScene,
    Scene,
    Truth,
    UltrasoundScene,
)
from bedside.runtime.synthetic.anatomy import PRESETS, Preset
from bedside.runtime.synthetic.mucosa import MAX_POLYPS
from bedside.runtime.synthetic.scene import SMALLEST

Kind = Literal["ultrasound", "endoscopy", "classes"] | PatternKind
KINDS: tuple[str, ...] = ("ultrasound", "endoscopy", "classes", *PATTERNS)

LARGEST = 8192
"""Of a side of the picture, in pixels."""

LOOP_BYTES = 1 << 30
"""The most that a loop may keep in memory."""


class SyntheticOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What is drawn, and how much of it.

    Attributes:
        kind: What is drawn.
        width: In pixels.
        height: In pixels.
        fps: Frames per second.
        frames: How many there are; None is endless.
        seed: Same seed, same frames.
        color: `bgr` or `gray`.
        loop: Draw this many frames when the source opens and replay them to and fro, at next to no cost and
            with no ground to fall behind; None draws every frame anew.
        preset: For `ultrasound`: what lies under the probe.
        polyps: For `endoscopy`: how many; None draws it from the seed.
        level: For `blank`: the gray value; None draws a colour from the seed.
    """

    kind: Kind
    width: int = 1280
    height: int = 720
    fps: float = 30.0
    frames: int | None = None
    seed: int = 0
    color: Color = "bgr"
    loop: int | None = None
    preset: Preset = "abdomen"
    polyps: int | None = None
    level: int | None = None


class SyntheticSource(SourceBase):
    """Frames from a generator; not live: it gives them as fast as they are asked for.

    The stamp is taken before a frame is drawn, so drawing counts as age. `Frame.meta` names kind and seed,
    and for `classes` the class shown, as `label`.

    Args:
        options: What is drawn.
        name: For results and errors.
        clock: For the stamps.

    Raises:
        UsageError: A size, or a loop, that cannot be held.
    """

    def __init__(self, options: SyntheticOptions, *, name: str = "", clock: Clock | None = None) -> None:
        super().__init__(name or f"synthetic:{options.kind}", clock)
        self.options = options
        for side, pixels in (("width", options.width), ("height", options.height)):
            if not SMALLEST <= pixels <= LARGEST:
                hint = f"{SMALLEST} to {LARGEST} pixels can be drawn"
                raise UsageError(f"{side} is {pixels}", where=self.name, hint=hint)
        kept = (options.loop or 0) * options.width * options.height * self._channels
        if kept > LOOP_BYTES:
            most = LOOP_BYTES * (options.loop or 0) // kept
            raise UsageError(
                f"a loop of {options.loop} frames takes {kept / 2**20:.0f} MiB",
                where=self.name,
                hint=f"{most} frames of this size fit" if most else "choose a smaller size",
            )
        self._scene: Scene | None = None
        self._pool: FramePool | None = None
        self._regions: tuple[Region, ...] = ()

    @classmethod
    def from_uri(cls, uri: str, *, clock: Clock | None = None) -> SyntheticSource:
        """The source that `synthetic:KIND?key=value&...` names.

        Keys of all kinds: `fps`, `size` (WIDTHxHEIGHT), `frames`, `seed`, `loop`, `color` (bgr or gray).
        `preset` is for `ultrasound`, `polyps` for `endoscopy`, `level` for `blank`.

        Args:
            uri: With or without the scheme.
            clock: For the stamps.

        Raises:
            UsageError: An unknown kind or key, or a value that will not do; names what is allowed.
        """
        kind, mark, query = uri.removeprefix("synthetic:").partition("?")
        if kind not in KINDS:
            raise UsageError(f"unknown generator {kind!r}", where=uri, hint=f"allowed: {', '.join(KINDS)}")
        readers = {**_COMMON, **_OWN.get(kind, {})}
        values = read_options(parse_query(query, uri) if mark else {}, readers, uri)
        if kind == "classes":
            values = {"size": (480, 480), **values}
        if "size" in values:
            values["width"], values["height"] = values.pop("size")
        return cls(SyntheticOptions(kind=cast(Kind, kind), **values), name=uri, clock=clock)

    def truth(self, seq: int) -> Truth:
        """What frame `seq` shows.

        Raises:
            SourceError: The source is not open.
        """
        if self._scene is None:
            raise SourceError("truth before open", where=self.name)
        return self._scene.truth(seq)

    @property
    def _channels(self) -> int:
        return 1 if self.options.color == "gray" else 3

    def _open(self) -> SourceInfo:
        options = self.options
        scene = _make_scene(options)
        if isinstance(scene, UltrasoundScene):
            self._regions = (Region(scene.box, scene.spacing_mm, "b-mode"),)
        if options.loop is not None:
            scene = LoopedScene(scene, options.loop)
        else:
            self._pool = FramePool((options.height, options.width, self._channels))
        self._scene = scene
        return SourceInfo(
            name=self.name,
            width=options.width,
            height=options.height,
            color=options.color,
            fps=options.fps,
            frames=options.frames,
            details={
                "kind": "synthetic",
                "generator": options.kind,
                "seed": options.seed,
                "loop": options.loop,
            },
        )

    def _next(self, seq: int, now_ns: int) -> Frame | None:
        options, scene = self.options, self._scene
        assert scene is not None  # open
        if options.frames is not None and seq >= options.frames:
            return None
        lease = None if self._pool is None else self._pool.lease()
        pixels = scene.render(seq) if lease is None else scene.render(seq, lease.buffer)
        return Frame(
            pixels=pixels,
            seq=seq,
            captured_ns=now_ns,
            source=self.name,
            color=options.color,
            pts_ns=round(seq * 1e9 / options.fps),
            spacing_mm=scene.spacing_mm,
            regions=self._regions,
            meta={"synthetic": options.kind, "seed": options.seed, "label": scene.label(seq)},
            lease=lease,
        )

    def _close(self) -> None:
        self._scene, self._pool, self._regions = None, None, ()


def _make_scene(options: SyntheticOptions) -> Scene:
    size: dict[str, Any] = {
        "width": options.width,
        "height": options.height,
        "fps": options.fps,
        "seed": options.seed,
        "color": options.color,
    }
    if options.kind == "ultrasound":
        return UltrasoundScene(preset=options.preset, **size)
    if options.kind == "endoscopy":
        return EndoscopyScene(polyps=options.polyps, **size)
    if options.kind == "classes":
        return ClassesScene(**size)
    return PatternScene(options.kind, level=options.level, **size)


def _whole_number(most: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        if not re.fullmatch(r"[0-9]{1,18}", text) or int(text) > most:
            raise ValueError(f"expected a whole number from 0 to {most}")
        return int(text)

    return read


def _one_of(allowed: tuple[str, ...]) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text not in allowed:
            raise ValueError(f"expected {' or '.join(allowed)}")
        return text

    return read


_COMMON: Mapping[str, Callable[[str], Any]] = {
    "fps": positive_number,
    "size": frame_size,
    "frames": positive_integer,
    "seed": _whole_number(2**32 - 1),
    "loop": positive_integer,
    "color": _one_of(("bgr", "gray")),
}
_OWN: Mapping[str, Mapping[str, Callable[[str], Any]]] = {
    "ultrasound": {"preset": _one_of(PRESETS)},
    "endoscopy": {"polyps": _whole_number(MAX_POLYPS)},
    "blank": {"level": _whole_number(255)},
}
