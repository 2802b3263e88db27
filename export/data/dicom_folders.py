"""Class folders of DICOM objects, single or multi-frame; every frame is an item."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Sequence
from pathlib import Path

from bedside.export.data.class_folders import find_classes
from bedside.export.data.files import digests, existing_folder, frame_items, is_dicom_object
from bedside.export.data.recipe import DicomFoldersData
from bedside.export.data.types import Found, Item, Progress
from bedside.runtime.dicom import open_dicom
from bedside.runtime.errors import BedsideError, RecipeError
from bedside.runtime.frame import Color, Pixels


def find_dicom_folders(
    recipe: DicomFoldersData, *, root: Path | None, progress: Progress | None = None
) -> Found:
    """Frames of DICOM objects in class folders.

    Raises:
        RecipeError: See `bedside.export.data.loading.load_data`.
    """
    folder = existing_folder(root, recipe.path)
    tree = find_classes(folder, recipe.labels, is_dicom_object, "DICOM objects", recipe.calibration)
    paths = [file.path for file in tree.files]
    checksums = digests(paths, progress)
    counts = frame_counts(paths)
    items: list[Item] = []
    without_patient = 0
    for file, checksum, count in zip(tree.files, checksums, counts, strict=True):
        group = checksum
        if recipe.group == "patient":
            patient = patient_of(file.path)
            without_patient += patient is None
            group = patient or checksum
        items += frame_items(
            read_frame,
            file.path,
            file.key,
            file.label,
            group,
            checksum,
            range(0, count, recipe.every),
            file.split,
            digits=5,
        )
    if recipe.group == "object":
        how = "groups: one DICOM object"
    elif without_patient:
        how = f"groups: PatientID, or the object for {without_patient} of {len(paths)} that have none"
    else:
        how = "groups: PatientID"
    return Found(
        labels=tree.labels,
        items=tuple(items),
        draw=tree.draw,
        sources=recipe.sources,
        notes=(how, *tree.notes),
    )


def frame_counts(paths: Sequence[Path]) -> list[int]:
    """How many frames each object has.

    Raises:
        RecipeError: Objects that cannot be opened, with their count.
    """
    counts, bad = [], []
    for path in paths:
        try:
            with open_dicom(path) as frames:
                counts.append(len(frames))
        except BedsideError as error:
            bad.append(str(error))
    if bad:
        raise RecipeError(
            f"{len(bad)} of {len(paths)} DICOM objects cannot be read: {'; '.join(bad[:3])}",
            where="data",
            hint="repair or remove them; nothing is skipped silently",
        )
    return counts


def patient_of(path: Path) -> str | None:
    """A pseudonym of the patient, the same for the same PatientID (0010,0020); None where there is none.

    Only this digest leaves the function: group names end up in reports.
    """
    import pydicom

    with warnings.catch_warnings():
        # Odd values in other elements are none of our business here, and `open_dicom` has reported them.
        warnings.simplefilter("ignore")
        try:
            dataset = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=["PatientID"])
            patient = str(dataset.get("PatientID") or "").strip()
        except Exception as error:  # pydicom raises what the file makes it raise
            raise RecipeError(f"PatientID cannot be read: {type(error).__name__}", where=str(path)) from None
    return f"patient:{hashlib.sha256(patient.encode()).hexdigest()[:16]}" if patient else None


def read_frame(path: Path, index: int) -> tuple[Pixels, Color]:
    """One frame of an object; see `bedside.runtime.dicom`."""
    with open_dicom(path) as frames:
        return frames.frame(index), frames.info.color
