"""Fully developed speckle: a field of scatterers seen through a depth-dependent point spread function.

The echo of many scatterers per resolution cell is a circular complex Gaussian field (Burckhardt, IEEE Trans.
Sonics Ultrason. 25(1), 1978; Wagner et al., ibid. 30(3), 1983): its envelope is Rayleigh distributed, with
mean / standard deviation = sqrt(pi / (4 - pi)) = 1.91. The field is the convolution of white scatterers with
the pulse-echo point spread function: the linear-systems model behind Field II (Jensen, Med. Biol. Eng.
Comput. 34, 1996), taken here in baseband and on the beam-by-depth grid (Bamber & Dickinson, Phys. Med. Biol.
25(3), 1980), with a Gaussian pulse axially and a Gaussian beam laterally.
"""

from __future__ import annotations

from itertools import pairwise

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

    A Gaussian beam: `w(z) = w0 sqrt(1 + ((z - focus) / range)^2)`, `w0` being about 1.2 wavelengths at the
    usual f-number of 2.5, and never below what the beam spacing carries.
    """
    wavelength = SPEED_MM_PER_US / probe.frequency_mhz
    waist = 1.2 * wavelength
    reach = 0.55 * probe.depth_mm
    width = waist * np.sqrt(1 + ((grid.depth[:, 0] - probe.focus_mm) / reach) ** 2)
    return np.asarray(np.clip(width / grid.beam_mm[:, 0], 1.1, 12.0), np.float32)


def scatterers(rng: np.random.Generator, shape: tuple[int, int], fields: int = 1) -> F32:
    """White circular complex Gaussian scatterers of unit power.

    Returns:
        `(D, B, 2 fields) float32`: real and imaginary part of each field in turn.
    """
    return rng.standard_normal((*shape, 2 * fields), dtype=np.float32) * np.float32(np.sqrt(0.5))


def insonify(field: F32, amplitude: F32, axial: float, lateral: F32) -> F32:
    """Echoes of scatterers: weighted by echogenicity, convolved with the point spread function.

    Args:
        field: `(D, B, C)` white scatterers.
        amplitude: `(D, B)` echogenicity as amplitude, 1 for the reference tissue.
        axial: Pulse, standard deviation in samples.
        lateral: `(D,)` beam, standard deviation in beams; applied in steps of 4 %.

    Returns:
        `(D, B, C) float32`, unit power where `amplitude` is 1.
    """
    pulse = _unit_power(_gauss(axial, axial))
    pulsed = cv2.sepFilter2D(field * amplitude[:, :, None], cv2.CV_32F, np.ones(1, np.float32), pulse)
    steps = np.round(np.log(lateral) / np.log(1.04))
    edges = [0, *(np.flatnonzero(np.diff(steps)) + 1).tolist(), len(steps)]
    echoes = np.empty_like(field)
    for top, bottom in pairwise(edges):
        sigma = float(1.04 ** steps[top])
        beam = _unit_power(_gauss(sigma, 5 * sigma) + SIDELOBE * _gauss(5 * sigma, 5 * sigma))
        # Rows in their own memory, so that none is taken from the neighbours.
        rows = np.ascontiguousarray(pulsed[top:bottom])
        echoes[top:bottom] = cv2.sepFilter2D(rows, cv2.CV_32F, beam, np.ones(1, np.float32))
    return echoes


def _gauss(sigma: float, reach: float) -> F32:
    """A Gaussian of unit sum, out to three times `reach` samples."""
    half = max(1, int(np.ceil(3 * reach)))
    return np.asarray(cv2.getGaussianKernel(2 * half + 1, sigma), np.float32)


def _unit_power(kernel: F32) -> F32:
    """Scaled so that white noise keeps its power."""
    return np.asarray(kernel / np.sqrt((kernel**2).sum()), np.float32)
