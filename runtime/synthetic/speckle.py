"""Fully developed speckle: a field of scatterers seen through a depth-dependent point spread function.

The echo of many scatterers per resolution cell is a circular complex Gaussian field (Burckhardt, IEEE Trans.
Sonics Ultrason. 25(1), 1978; Wagner et al., ibid. 30(3), 1983): its envelope is Rayleigh distributed, with
mean / standard deviation = sqrt(pi / (4 - pi)) = 1.91. The field is the convolution of white scatterers with the
pulse-echo point spread function: the linear-systems model behind Field II (Jensen, Med. Biol. Eng. Comput. 34,
1996), taken here in baseband and on the beam-by-depth grid (Bamber & Dickinson, Phys. Med. Biol. 25(3), 1980),
with a Gaussian pulse axially and a Gaussian beam laterally.
"""

from __future__ import annotations

import cv2
import numpy as np

from bedside.runtime.synthetic.fan import Grid, Probe
from bedside.runtime.synthetic.scene import F32

SPEED_MM_PER_US = 1.54
"""Speed of sound in soft tissue, 1540 m/s: what scanners assume."""

CYCLES = 2.5
"""Length of the imaging pulse."""

SIDELOBE = 0.02
"""Amplitude of the broad pedestal of the beam (side and grating lobes): the haze inside cysts."""


def axial_sigma(probe: Probe, sample_mm: float) -> float:
    """Standard deviation of the pulse in depth samples, at least 1.2 so that the grid carries it."""
    wavelength = SPEED_MM_PER_US / probe.frequency_mhz
    return max(1.2, CYCLES * wavelength / 2 / 2.355 / sample_mm)


def lateral_sigma(probe: Probe, grid: Grid) -> F32:
    """Standard deviation of the beam in beams, per depth sample, `(D,) float32`.

    A Gaussian beam: `w(z) = w0 sqrt(1 + ((z - focus) / range)^2)`, `w0` being about 1.2 wavelengths at the usual
    f-number of 2.5, and never below what the beam spacing carries.
    """
    wavelength = SPEED_MM_PER_US / probe.frequency_mhz
    waist = 1.2 * wavelength
    reach = 0.55 * probe.depth_mm
    width = waist * np.sqrt(1 + ((grid.depth[:, 0] - probe.focus_mm) / reach) ** 2)
    return np.clip(width / grid.beam_mm[:, 0], 1.1, 12.0).astype(np.float32)


def scatterers(rng: np.random.Generator, shape: tuple[int, int]) -> F32:
    """White circular complex Gaussian scatterers of unit power, `(D, B, 2) float32` (real, imaginary)."""
    return rng.standard_normal((*shape, 2), dtype=np.float32) * np.float32(np.sqrt(0.5))


def insonify(field: F32, amplitude: F32, axial: float, lateral: F32) -> F32:
    """Echoes of scatterers: weighted by echogenicity, convolved with the point spread function.

    Args:
        field: `(D, B, 2)` white scatterers.
        amplitude: `(D, B)` echogenicity as amplitude, 1 for the reference tissue.
        axial: Pulse, standard deviation in samples.
        lateral: `(D,)` beam, standard deviation in beams.

    Returns:
        `(D, B, 2) float32`, unit power where `amplitude` is 1.
    """
    weighted = field * amplitude[:, :, None]
    pulsed = cv2.GaussianBlur(weighted, (1, _taps(axial)), sigmaX=0.01, sigmaY=axial)
    echoes = np.empty_like(weighted)
    for row, sigma in enumerate(lateral):
        line = pulsed[row : row + 1]
        beam = cv2.GaussianBlur(line, (_taps(sigma), 1), sigmaX=float(sigma), sigmaY=0.01)
        lobes = cv2.GaussianBlur(line, (_taps(5 * sigma), 1), sigmaX=float(5 * sigma), sigmaY=0.01)
        kernel = _gauss(float(sigma), _taps(5 * sigma)) + SIDELOBE * _gauss(float(5 * sigma), _taps(5 * sigma))
        echoes[row] = (beam + np.float32(SIDELOBE) * lobes)[0] / np.float32(np.sqrt((kernel**2).sum()))
    pulse = _gauss(axial, _taps(axial))
    echoes /= np.float32(np.sqrt((pulse**2).sum()))
    return echoes


def _taps(sigma: float) -> int:
    return 2 * max(1, int(np.ceil(3 * sigma))) + 1


def _gauss(sigma: float, taps: int) -> F32:
    return np.asarray(cv2.getGaussianKernel(taps, sigma)[:, 0], np.float32)
