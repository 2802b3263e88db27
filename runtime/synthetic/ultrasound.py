"""B-mode ultrasound, from scatterers to the screen, in real time and with ground truth.

Per frame: two independent speckle fields of the same anatomy are mixed by an angle that turns slowly
(out-of-plane
motion: the mix of two circular Gaussian fields is one, so the statistics hold at every instant), mirrors and
receiver noise are added, the envelope is log-compressed, the picture is warped by probe motion and pulse, and
scan converted. Everything else is done once.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np

from bedside.runtime.frame import Color, Pixels
from bedside.runtime.geometry import Rect
from bedside.runtime.synthetic import speckle
from bedside.runtime.synthetic.anatomy import Preset, default_probe
from bedside.runtime.synthetic.fan import Fan, Probe
from bedside.runtime.synthetic.furniture import Overlay, scanner_overlay
from bedside.runtime.synthetic.scene import F32, Mask, Truth, check_frame, generator, lesion_truth
from bedside.runtime.synthetic.tissue import CLASSES, LESIONS, Lesion, make_tissue

_SWEEP = 0.11  # probe motion to each side, as a part of the opening
_WHITE_DB = 28.0  # echo level that is drawn white


class UltrasoundScene:
    """A B-mode cine.

    Args:
        width: Of the frame, in pixels, at least 48.
        height: Of the frame, in pixels, at least 48.
        fps: Frames per second: how much moves from one frame to the next.
        seed: At least 0; same seed, same cine.
        preset: Anatomy and probe: `abdomen` (curvilinear), `heart` (phased), `superficial` (linear),
            `phantom` (curvilinear, even scatterers).
        lesions: Which lesions to put in; by default one or two drawn from the seed, none in the heart.
        lesion_size: Range of their radius, as a part of the depth.
        probe: Transducer; by default one that fits the preset.
        dynamic_range_db: Of the log compression.
        noise_db: Receiver noise at the deepest sample against parenchyma.
        furniture: Whether scale, gray bar and text surround the fan.
        color: `bgr` (three equal channels, as capture cards deliver) or `gray`.
    """

    name = "ultrasound"

    def __init__(
        self,
        *,
        width: int = 1280,
        height: int = 720,
        fps: float = 30.0,
        seed: int = 0,
        preset: Preset = "abdomen",
        lesions: Sequence[Lesion] | None = None,
        lesion_size: tuple[float, float] = (0.07, 0.13),
        probe: Probe | None = None,
        dynamic_range_db: float = 60.0,
        noise_db: float = -30.0,
        furniture: bool = True,
        color: Color = "bgr",
    ) -> None:
        check_frame(width, height, fps, color)
        self.width, self.height, self.fps, self.color = width, height, fps, color
        rng = generator(seed, f"ultrasound {preset}")
        self.probe = probe or default_probe(preset, rng)
        beside = 0.15 if self.probe.kind == "linear" else 0.09  # a sector leaves room for text in its corners
        margin_x, margin_y = (int(beside * width), int(0.05 * height)) if furniture else (0, 0)
        area = Rect(margin_x, margin_y, width - 2 * margin_x, height - 2 * margin_y)
        self._fan = Fan(self.probe, width, height, area, _SWEEP)
        self.box = self._fan.box
        self.spacing_mm: tuple[float, float] | None = (self._fan.mm, self._fan.mm)
        if lesions is None:
            count = 0 if preset == "heart" else int(rng.integers(1, 3))
            lesions = [LESIONS[i] for i in rng.choice(len(LESIONS), count, replace=False)]

        grid = self._fan.grid
        tissue = make_tissue(preset, self.probe, grid, lesions, generator(seed, "tissue"), lesion_size)
        self._tissue = tissue
        gain_db = tissue.gain_db
        if preset != "phantom":  # the sliders of the time-gain compensation are never set quite right
            sliders = generator(seed, "gain").normal(0, 1.0, 8)
            ripple = np.interp(grid.depth, np.linspace(0, self.probe.depth_mm, 8), sliders)
            gain_db = np.asarray(gain_db + ripple, np.float32)
        amplitude = np.power(10, (tissue.echo_db + gain_db) / 20).astype(np.float32)
        axial, lateral = (
            speckle.axial_sigma(self.probe, grid.sample_mm),
            speckle.lateral_sigma(self.probe, grid),
        )
        shape = (grid.x.shape[0], grid.x.shape[1])
        scatter = generator(seed, "scatterers")
        echoes = speckle.insonify(speckle.scatterers(scatter, shape, 2), amplitude, axial, lateral)
        self._fields = np.ascontiguousarray(echoes[:, :, :2]), np.ascontiguousarray(echoes[:, :, 2:])
        self._mirror = (tissue.mirror * np.power(10, gain_db / 20)).astype(np.float32)
        self._noise = self._receiver_noise(seed, axial, noise_db)

        white = _WHITE_DB
        self._per_neper = np.float32(255 / dynamic_range_db * 10 / math.log(10))
        self._offset = np.float32(255 * (1 - white / dynamic_range_db))
        level = np.arange(256) / 255
        self._gray_map = np.round(255 * level**1.25).astype(np.uint8)  # a common post-processing curve
        motion = generator(seed, "motion")
        self._phase = motion.uniform(0, 2 * math.pi, 5)
        self._beat_hz = motion.uniform(1.0, 1.4)
        self._base_x, self._base_y = (
            a.astype(np.float32)
            for a in np.meshgrid(np.arange(self._fan.beams), np.arange(self._fan.samples))
        )
        self._overlay = Overlay(np.zeros((height, width, 3), np.uint8), self._fan.box, color)
        if furniture:
            self._overlay = scanner_overlay(
                width, height, self._fan, preset, color, generator(seed, "furniture")
            )

    def envelope(self, index: int) -> F32:
        """Detected amplitude before compression and warping, `(samples, beams)`; parenchyma is 1 rms."""
        start, _, _ = self._motion(index)
        return np.sqrt(self._power(index, start))

    def render(self, index: int, out: Pixels | None = None) -> Pixels:
        """See `Scene`."""
        start, shift, beat = self._motion(index)
        level = np.asarray(cv2.log(self._power(index, start)), np.float32)
        np.multiply(level, self._per_neper, out=level)
        np.add(level, self._offset, out=level)
        np.clip(level, 0, 255, out=level)
        polar = cv2.LUT(level.astype(np.uint8), self._gray_map)
        polar = cv2.GaussianBlur(polar, (3, 3), sigmaX=0.7, sigmaY=0.7)  # the scanner's speckle reduction
        map_x, map_y = self._warp(start, shift, beat)
        polar = cv2.remap(polar, map_x, map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        fan = self._fan.scan_convert(np.asarray(polar, np.uint8))
        channels = 3 if self.color != "gray" else 1
        if out is None:
            out = np.empty((self.height, self.width, channels), np.uint8)
        box = self.box
        target = out[box.y : box.y1, box.x : box.x1]
        if channels == 3:
            cv2.cvtColor(fan, cv2.COLOR_GRAY2BGR, dst=target)
        else:
            target[:, :, 0] = fan
        self._overlay.draw(out)
        return out

    def label(self, index: int) -> str:
        """See `Scene`."""
        return self.name

    def truth(self, index: int) -> Truth:
        """See `Scene`."""
        start, shift, beat = self._motion(index)
        map_x, map_y = self._warp(start, shift, beat)
        box = self.box
        instances: list[tuple[int, Mask]] = []
        for lesion in self._tissue.lesions:
            window = np.ascontiguousarray(lesion.level[:, start : start + self._fan.beams])
            level = cv2.remap(window, map_x, map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
            pixels = np.zeros((self.height, self.width), np.bool_)
            pixels[box.y : box.y1, box.x : box.x1] = self._fan.scan_convert(np.asarray(level, np.float32)) > 0
            instances.append((CLASSES.index(lesion.kind), pixels))
        return lesion_truth(
            label=self.name,
            classes=CLASSES,
            instances=instances,
            view=self._fan.view,
            spacing_mm=self.spacing_mm,
        )

    def _motion(self, index: int) -> tuple[int, float, float]:
        """First beam of the panorama in the fan, the remaining fraction of a beam, and the pulse 0..1."""
        t, phase = index / self.fps, self._phase
        # Slow drift of the hand over seconds, a little tremor; the sum stays within -1..1.
        sway = 0.68 * math.sin(2 * math.pi * t / 5.3 + phase[0]) + 0.27 * math.sin(
            2 * math.pi * t / 2.3 + phase[1]
        )
        sway += 0.04 * math.sin(2 * math.pi * t * 5.1 + phase[2])
        at = self._fan.grid.sweep * (1 + sway)
        start = min(int(at), 2 * self._fan.grid.sweep)
        beat = (0.5 + 0.5 * math.sin(2 * math.pi * self._beat_hz * t + phase[3])) ** 2
        return start, at - start, beat

    def _power(self, index: int, start: int) -> F32:
        window = slice(start, start + self._fan.beams)
        turn = 2 * math.pi * index / self.fps / 9.0 + self._phase[4]
        first, second = (field[:, window] for field in self._fields)
        mixed = cv2.addWeighted(first, math.cos(turn), second, math.sin(turn), 0.0)
        echoes: F32 = np.asarray(mixed, np.float32)
        spare = self._noise.shape[1] - self._fan.beams
        begin = (index * 7919 + index // 3 * 31) % (spare + 1)
        echoes += self._noise[:, begin : begin + self._fan.beams]
        real, imaginary = echoes[:, :, 0], echoes[:, :, 1]
        power = real + self._mirror[:, window]
        np.multiply(power, power, out=power)
        power += imaginary * imaginary
        return power

    def _warp(self, start: int, shift: float, beat: float) -> tuple[F32, F32]:
        window = slice(start, start + self._fan.beams)
        scale = np.float32(1 - 2 * beat)
        map_x = self._tissue.pulse[0][:, window] * scale
        map_x += self._base_x
        map_x += np.float32(shift)
        map_y = self._tissue.pulse[1][:, window] * scale
        map_y += self._base_y
        return map_x, map_y

    def _receiver_noise(self, seed: int, axial: float, noise_db: float) -> F32:
        """Thermal noise, amplified with depth like the echoes, `(D, 3 B, 2) float32`."""
        shape = (self._fan.samples, 3 * self._fan.beams)
        white = speckle.scatterers(generator(seed, "noise"), shape)
        noise: F32 = np.asarray(cv2.GaussianBlur(white, (0, 0), sigmaX=0.5, sigmaY=axial), np.float32)
        noise *= np.float32(math.sqrt(0.5) / float(noise.std()))
        depth = self._fan.grid.depth
        rise_db = 0.5 * self.probe.frequency_mhz * 2 * (depth - self.probe.depth_mm) / 10
        noise *= np.power(10, (noise_db + np.maximum(rise_db, -25)) / 20)[:, :, None].astype(np.float32)
        return noise
