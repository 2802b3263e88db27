"""DICOM files: the ones inside pydicom's wheel, and ones made to order."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import UID, ExplicitVRLittleEndian, SecondaryCaptureImageStorage, generate_uid

MakeDicom = Callable[..., Path]


@pytest.fixture(scope="session")
def shipped() -> Callable[[str], Path]:
    """Path of a test file inside the installed pydicom."""

    def find(name: str) -> Path:
        path = get_testdata_file(name, download=False)
        assert path is not None, f"pydicom came without {name}"
        return Path(str(path))

    return find


@pytest.fixture
def make_dicom(tmp_path: Path) -> MakeDicom:
    """Write a DICOM file; `pixels` is `(H, W)`, `(H, W, 3)` or `(N, ...)` as stored, or encoded frames."""
    count = 0

    def make(
        pixels: np.ndarray[Any, Any] | list[bytes],
        *,
        syntax: UID = ExplicitVRLittleEndian,
        name: str | None = None,
        has_bot: bool = False,
        fragments: int = 1,
        tags: Callable[[Dataset], None] | None = None,
        **attributes: Any,
    ) -> Path:
        nonlocal count
        count += 1
        dataset = Dataset()
        dataset.SOPClassUID = SecondaryCaptureImageStorage
        dataset.SOPInstanceUID = generate_uid(entropy_srcs=["bedside", str(count)])
        dataset.Modality = "US"
        dataset.PatientName = "Nobody^Real"
        encoded = isinstance(pixels, list)
        if not encoded:
            frames = attributes.get("NumberOfFrames", 1)
            shape = pixels.shape[1:] if frames > 1 else pixels.shape
            dataset.Rows, dataset.Columns = shape[:2]
            dataset.SamplesPerPixel = 3 if len(shape) == 3 else 1
            dataset.BitsAllocated = dataset.BitsStored = pixels.dtype.itemsize * 8
            dataset.PixelRepresentation = int(pixels.dtype.kind == "i")
        dataset.PhotometricInterpretation = "RGB" if dataset.get("SamplesPerPixel") == 3 else "MONOCHROME2"
        for key, value in attributes.items():
            setattr(dataset, key, value)
        if dataset.get("SamplesPerPixel") == 3 and "PlanarConfiguration" not in dataset:
            dataset.PlanarConfiguration = 0
        if tags is not None:
            tags(dataset)
        if encoded:
            dataset.PixelData = encapsulate(pixels, fragments_per_frame=fragments, has_bot=has_bot)
            dataset["PixelData"].is_undefined_length = True
        elif pixels.dtype.kind == "f":
            dataset.FloatPixelData = pixels.astype("<f4").tobytes()
        else:
            order = "<" if syntax.is_little_endian else ">"
            data = pixels.astype(pixels.dtype.newbyteorder(order)).tobytes()
            dataset.PixelData = data + b"\0" * (len(data) % 2)
            dataset["PixelData"].VR = "OB" if pixels.dtype.itemsize == 1 else "OW"
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = syntax
        path = tmp_path / (name or f"made{count}.dcm")
        dataset.save_as(path, enforce_file_format=True)
        return path

    return make
