"""Segmentation: Dice, and how well outlines agree."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

Classes = npt.NDArray[np.uint8]

#: Pixels of a ground truth that are not judged.
IGNORED = 255
#: Outlines agree within this fraction of the picture's diagonal (Csurka et al., BMVC 2013, use 0.75 %).
_TOLERANCE = 0.0075


def dice(found: Classes, truth: Classes, classes: int) -> npt.NDArray[np.float64]:
    """Dice coefficient per class of one picture.

    Args:
        found: `(H, W)` classes.
        truth: `(H, W)` classes; 255 is not judged.
        classes: How many, the background included.

    Returns:
        `(classes,)`; NaN where neither has a pixel of the class.
    """
    judged = truth != IGNORED
    f, t = found[judged], truth[judged]
    both = np.bincount(f[f == t], minlength=classes)[:classes].astype(np.float64)
    total = np.bincount(f, minlength=classes)[:classes] + np.bincount(t, minlength=classes)[:classes]
    with np.errstate(invalid="ignore"):
        return 2 * both / np.where(total > 0, total, np.nan)


def boundary_f1(found: Classes, truth: Classes, classes: int) -> float:
    """F1 score of the outlines, averaged over the foreground classes that the truth or the answer has.

    Args:
        found: `(H, W)` classes.
        truth: `(H, W)` classes; 255 is not judged.
        classes: How many, the background included.

    Returns:
        NaN where neither has a foreground.

    Csurka, Larlus & Perronnin, What is a good evaluation measure for semantic segmentation?, BMVC 2013.
    """
    radius = max(1, round(_TOLERANCE * float(np.hypot(*found.shape))))
    disk = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
    judged = truth != IGNORED
    scores = []
    for k in range(1, classes):
        f, t = _outline((found == k) & judged), _outline(truth == k)
        if not f.any() and not t.any():
            continue
        if not f.any() or not t.any():
            scores.append(0.0)
            continue
        precision = float(cv2.dilate(t, disk)[f > 0].mean())
        recall = float(cv2.dilate(f, disk)[t > 0].mean())
        scores.append(2 * precision * recall / (precision + recall) if precision + recall else 0.0)
    return float(np.mean(scores)) if scores else float("nan")


def _outline(mask: npt.NDArray[np.bool_]) -> Classes:
    """Pixels of a mask that touch the outside, as 0 and 1."""
    inside = mask.astype(np.uint8)
    # Outside the picture counts as inside: a region that is cut off by the border has no outline there.
    eroded = cv2.erode(inside, np.ones((3, 3), np.uint8), borderType=cv2.BORDER_REPLICATE)
    return np.asarray(inside - eroded, np.uint8)
