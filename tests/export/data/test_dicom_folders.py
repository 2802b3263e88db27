"""DICOM folders: every frame an item, patients and objects kept together."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, UltrasoundMultiFrameImageStorage, generate_uid

from bedside.export.data.loading import load_data
from bedside.export.data.recipe import DicomFoldersData
from bedside.export.data.types import DataSet
from bedside.runtime.errors import RecipeError


def write_object(path: Path, seed: int, *, frames: int = 1, patient: str | None = None) -> np.ndarray:
    pixels = np.random.default_rng(seed).integers(0, 256, (frames, 12, 16), np.uint8)
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = UltrasoundMultiFrameImageStorage
    dataset.SOPClassUID = UltrasoundMultiFrameImageStorage
    dataset.SOPInstanceUID = generate_uid(entropy_srcs=[str(path), str(seed)])
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.Modality = "US"
    if patient is not None:
        dataset.PatientID = patient
    dataset.Rows, dataset.Columns = 12, 16
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = 8
    dataset.HighBit = 7
    dataset.PixelRepresentation = 0
    dataset.NumberOfFrames = frames
    dataset.PixelData = pixels.tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(path, enforce_file_format=True)
    return pixels


def load(root: Path, **options: Any) -> DataSet:
    return load_data(DicomFoldersData(path=str(root), **options), seed=1, root=None)


def everything(data: DataSet) -> list[Any]:
    return [item for split in data.splits for item in split.items]


def test_every_frame_is_an_item_and_an_object_stays_together(tmp_path: Path):
    stored = {}
    for label in ("cyst", "solid"):
        for index in range(6):
            path = tmp_path / label / f"{index}.dcm"
            stored[f"{label}/{index}.dcm"] = write_object(path, index + 10 * len(label), frames=3)
    data = load(tmp_path)
    items = everything(data)
    assert len(items) == 36
    assert sum(split.groups for split in data.splits) == 12
    for split in data.splits:
        assert len(split.items) == 3 * split.groups
    item = next(i for i in items if i.key == "solid/4.dcm#00002")
    pixels, color = item.load()
    assert color == "gray"
    assert np.array_equal(pixels[..., 0], stored["solid/4.dcm"][2])
    assert item.label == data.labels.index("solid")


def test_a_patient_stays_together_over_classes_and_no_name_leaks(tmp_path: Path):
    for label in ("a", "b"):
        for patient in range(6):
            for index in range(2):
                seed = ord(label) * 100 + patient * 10 + index
                write_object(tmp_path / label / f"{patient}_{index}.dcm", seed, patient=f"DOE^{patient}")
    data = load(tmp_path)
    assert sum(split.groups for split in data.splits) == 6
    assert not any("DOE" in item.group for item in everything(data))
    assert "groups: PatientID" in data.notes
    by_object = load(tmp_path, group="object")
    assert sum(split.groups for split in by_object.splits) == 24


def test_objects_without_a_patient_are_groups_of_their_own(tmp_path: Path):
    for label in ("a", "b"):
        for index in range(5):
            write_object(
                tmp_path / label / f"{index}.dcm", ord(label) + index * 7, patient="x" if index == 0 else ""
            )
    data = load(tmp_path)
    assert any("the object for 8 of 10" in note for note in data.notes)
    assert sum(split.groups for split in data.splits) == 9


def test_every_nth_frame(tmp_path: Path):
    for label in ("a", "b"):
        for index in range(4):
            write_object(tmp_path / label / f"{index}.dcm", ord(label) + index * 7, frames=5)
    keys = {item.key for item in everything(load(tmp_path, every=2))}
    assert {"a/0.dcm#00000", "a/0.dcm#00002", "a/0.dcm#00004"} <= keys
    assert len(keys) == 24


def test_objects_without_a_suffix_are_found_and_a_dicomdir_is_none(tmp_path: Path):
    for label in ("a", "b"):
        for index in range(4):
            write_object(tmp_path / label / f"IM{index:04d}", ord(label) + index * 7)
        (tmp_path / label / "DICOMDIR").write_bytes(b"\0" * 128 + b"DICM")
    assert len(everything(load(tmp_path))) == 8


@pytest.mark.fault("S10")
def test_broken_objects_are_an_error_with_their_count(tmp_path: Path):
    for label in ("a", "b"):
        for index in range(4):
            write_object(tmp_path / label / f"{index}.dcm", ord(label) + index * 7)
    whole = (tmp_path / "a" / "0.dcm").read_bytes()
    (tmp_path / "a" / "0.dcm").write_bytes(whole[:200])
    (tmp_path / "b" / "1.dcm").write_bytes(b"not DICOM at all" * 20)
    with pytest.raises(RecipeError, match=r"2 of 8 DICOM objects cannot be read: .*0\.dcm") as caught:
        load(tmp_path)
    assert "\n" not in str(caught.value)


def test_images_in_dicom_folders_get_the_right_hint(tmp_path: Path):
    for label in ("a", "b"):
        (tmp_path / label).mkdir()
        (tmp_path / label / "x.png").write_bytes(b"png")
    with pytest.raises(RecipeError, match="class-folders"):
        load(tmp_path)
