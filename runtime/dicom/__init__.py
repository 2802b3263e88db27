"""DICOM objects as 8-bit frames, with their geometry, their time, and a record of what was done."""

from bedside.runtime.dicom.frames import DicomFrames, DicomInfo, open_dicom
from bedside.runtime.dicom.header import NoPixelData, is_dicom
from bedside.runtime.dicom.vendor import decodable

__all__ = ["DicomFrames", "DicomInfo", "NoPixelData", "decodable", "is_dicom", "open_dicom"]
