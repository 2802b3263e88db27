"""Where frames come from: video, pictures, DICOM, cameras, streams, generators; and what wraps them."""

from bedside.devices.sources.camera import CameraEntry, CameraSource, list_cameras
from bedside.devices.sources.dicom import DicomSource
from bedside.devices.sources.images import ImageSource
from bedside.devices.sources.network import NetworkSource
from bedside.devices.sources.options import CaptureOptions
from bedside.devices.sources.pacing import Limited, Looped, Paced
from bedside.devices.sources.sample import echo_cine_path
from bedside.devices.sources.uri import open_source
from bedside.devices.sources.video import VideoSource

__all__ = [
    "CameraEntry",
    "CameraSource",
    "CaptureOptions",
    "DicomSource",
    "ImageSource",
    "Limited",
    "Looped",
    "NetworkSource",
    "Paced",
    "VideoSource",
    "echo_cine_path",
    "list_cameras",
    "open_source",
]
