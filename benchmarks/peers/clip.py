"""The clip that every candidate reads: drawn endoscopy, 1080p60, H.264 without B-frames, as encoders stream it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import cv2
from environments import environment

from bedside.devices.sources import open_source
from bedside.runtime.errors import SourceError

SIZE = (1920, 1080)
FPS = 60

#: Frames that are drawn; more are these, to and fro.
DRAWN = 60


def make_clip(path: Path, frames: int, cache: Path) -> None:
    """Draw and encode, unless it is there.

    Args:
        path: The `.mp4`; it takes this name when it is whole.
        frames: How many.
        cache: Where an encoder may be installed.

    Raises:
        SourceError: There is no encoder.
    """
    if path.is_file():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    width, height = SIZE
    partial = path.with_suffix(".part.mp4")
    words = [_encoder(cache), "-hide_banner", "-loglevel", "error", "-y", "-f", "rawvideo"]
    words += ["-pix_fmt", "bgr24", "-s", f"{width}x{height}", "-r", str(FPS), "-i", "-"]
    words += ["-c:v", "libx264", "-preset", "veryfast", "-crf", "20", "-bf", "0", "-g", str(FPS)]
    words += ["-pix_fmt", "yuv420p", str(partial)]
    source = open_source(
        f"synthetic:endoscopy?size={width}x{height}&fps={FPS}&frames={frames}&loop={min(frames, DRAWN)}"
    )
    source.open()
    with subprocess.Popen(words, stdin=subprocess.PIPE, stderr=subprocess.PIPE) as encoder:
        assert encoder.stdin is not None and encoder.stderr is not None
        try:
            while (frame := source.read()) is not None:
                encoder.stdin.write(frame.pixels.data)
                frame.release()
            encoder.stdin.close()
        except BrokenPipeError:
            pass  # it says why
        said = encoder.stderr.read().decode(errors="replace").strip()
    source.close()
    if encoder.returncode:
        partial.unlink(missing_ok=True)
        raise SourceError(f"the encoder refuses: {said[-300:]}", where=words[0], hint="give --clip")
    partial.replace(path)


def describe(path: Path) -> dict[str, Any]:
    """What OpenCV says of a clip; all of its frames are counted.

    Raises:
        SourceError: It cannot be opened.
    """
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    if not capture.isOpened():
        raise SourceError("OpenCV cannot open the clip", where=str(path))
    fourcc = int(capture.get(cv2.CAP_PROP_FOURCC)).to_bytes(4, "little").decode("latin-1").strip("\0 ")
    frames = 0
    while capture.grab():
        frames += 1
    described = {
        "file": path.name,
        "codec": fourcc,
        "width": int(capture.get(cv2.CAP_PROP_FRAME_WIDTH)),
        "height": int(capture.get(cv2.CAP_PROP_FRAME_HEIGHT)),
        "frames": frames,
        "bytes": path.stat().st_size,
    }
    capture.release()
    return described


def _encoder(cache: Path) -> str:
    """An ffmpeg with x264: the host's, or one out of a wheel."""
    found = shutil.which("ffmpeg")
    if found is not None:
        return found
    made = environment("requirements-encoder.txt", cache)
    if made.python is None:
        hint = "install ffmpeg, or give --clip X.mp4"
        raise SourceError(f"no ffmpeg here, and none to be had: {made.reason}", where="clip", hint=hint)
    asked = [str(made.python), "-c", "import imageio_ffmpeg; print(imageio_ffmpeg.get_ffmpeg_exe())"]
    return subprocess.run(asked, check=True, capture_output=True, text=True).stdout.strip()
