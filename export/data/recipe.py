"""`[data]` of a recipe: one struct per kind of data. `recipe_checks` refuses what contradicts itself."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from bedside.runtime.bundle.fields import Line, Positive
from bedside.runtime.bundle.manifest import DataSource

_SplitFraction = Annotated[float, Meta(gt=0.0, lt=0.9)]
_Labels = Annotated[tuple[Line, ...], Meta(min_length=2)]
_Colour = Annotated[str, Meta(pattern=r"^#[0-9a-fA-F]{6}\Z")]
_Byte = Annotated[int, Meta(ge=0, le=255)]
#: Side of a drawn frame, in pixels.
_DrawnSide = Annotated[int, Meta(ge=16, le=2048)]


class _Strict(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Frozen, and refuses unknown keys."""


class Data(_Strict, frozen=True, kw_only=True):
    """What every kind of data has.

    Attributes:
        holdout: Fraction of the groups of each class for the gate, where the data does not fix it.
        validation: Fraction for early stopping, where the data does not fix it; 0: none, and the last epoch's
            weights are kept. For data whose few groups are all needed for training.
        calibration: Fraction for temperature and conformal sets, where the data does not fix it; 0: none.
        near_duplicates: What becomes of frames that look the same (`bedside.export.data.duplicates`): `join`
            makes one group of their groups, and refuses where the data fixes them in two splits; `error`
            refuses them wherever they are in two groups; `ignore` does not look for them.
        near_duplicate_correlation: From which correlation of their fine detail on two frames look the same.
        sources: For the model card: name, licence, citation, note.
    """

    holdout: _SplitFraction = 0.2
    validation: Annotated[float, Meta(ge=0.0, lt=0.9)] = 0.15
    calibration: Annotated[float, Meta(ge=0.0, lt=0.9)] = 0.0
    near_duplicates: Literal["join", "error", "ignore"] = "join"
    near_duplicate_correlation: Annotated[float, Meta(gt=0.0, le=1.0)] = 0.4
    sources: tuple[DataSource, ...] = ()


class ClassFoldersData(Data, frozen=True, kw_only=True, tag_field="kind", tag="class-folders"):
    """`kind = "class-folders"`: `path/CLASS/...` or `path/{train,val,calibration,test}/CLASS/...`.

    Attributes:
        path: Folder, relative to the data root.
        labels: Order of the classes; None: the folder names, sorted.
        group: Regular expression searched in the path below the class folder; its first group (or whole
            match) names the group. None: the first sub-folder (a folder that all files are in does not count),
            else the file by itself.
    """

    path: str
    labels: _Labels | None = None
    group: str | None = None


class DicomFoldersData(Data, frozen=True, kw_only=True, tag_field="kind", tag="dicom-folders"):
    """`kind = "dicom-folders"`: class folders of DICOM objects; every frame is an item.

    Attributes:
        path: Folder, relative to the data root.
        labels: Order of the classes; None: the folder names, sorted.
        group: `patient` keeps a PatientID together (the object where it is empty); `object` each file.
        every: Take every n-th frame of a multi-frame object.
    """

    path: str
    labels: _Labels | None = None
    group: Literal["patient", "object"] = "patient"
    every: Positive = 1


class MedMnistData(Data, frozen=True, kw_only=True, tag_field="kind", tag="medmnist"):
    """`kind = "medmnist"`: an `.npz` in MedMNIST's layout; `test` is the holdout.

    Attributes:
        path: File, relative to the data root.
        labels: Class names in the order of the indices; None: `class 0`, `class 1`, ...
    """

    path: str
    labels: _Labels | None = None


class MaskClass(_Strict, frozen=True, kw_only=True):
    """One entry of `[[data.classes]]`: what a class looks like in a mask.

    Attributes:
        label: Its name.
        values: Pixel values that mean it (`coding = "index"`).
        colours: `#rrggbb` that mean it (`coding = "colour"`).
    """

    label: Line
    values: Annotated[tuple[_Byte, ...], Meta(max_length=256)] = ()
    colours: Annotated[tuple[_Colour, ...], Meta(max_length=256)] = ()


class MaskFoldersData(Data, frozen=True, kw_only=True, tag_field="kind", tag="mask-folders"):
    """`kind = "mask-folders"`: pictures in one folder, their masks in another; for segmentation.

    A mask belongs to the picture of the same path below its folder, whatever the file type.

    Attributes:
        path: Folder, relative to the data root.
        images: Folder of the pictures, below `path`; None, together with `masks`: `images` and `masks`
            (Kvasir-SEG), `images` and `labels`, or `Original` and `Ground Truth` (CVC-ClinicDB), which there is.
        masks: Folder of the masks, below `path`.
        mask_suffix: What the name of a mask has beyond that of its picture: `_mask` for `7.jpg`, `7_mask.png`.
        coding: `binary`: brighter than `threshold` is the second class. `index`: the pixel value is the class,
            or what `classes` says. `colour`: as `classes` says.
        threshold: Of `binary`. JPEG leaves grey at edges, so it lies in the middle.
        labels: Class names, background first: two for `binary` (None: `background` and `foreground`), in the
            order of the values for `index`.
        classes: In place of `labels`: names with their values or colours, background first.
        unjudged: Values (`index`) of pixels that are neither learned nor scored.
        unjudged_colours: Colours (`colour`) of such pixels.
        tolerance: How far each channel of a pixel may be from a colour of the table; the nearest colour wins. 0
            is right for PNG, about 60 for masks that went through JPEG.
        group: Regular expression searched in the path below `images`; its first group (or whole match) names
            the group. None: as in `class-folders`.
        sequence: In place of `group`, for numbered frames of known sequences (CVC-ClinicDB: 29 of them): the
            number each starts with, ascending. The number is the last one in the file name.
    """

    path: str
    images: str | None = None
    masks: str | None = None
    mask_suffix: str = ""
    coding: Literal["binary", "index", "colour"] = "binary"
    threshold: Annotated[int, Meta(ge=0, le=254)] = 127
    labels: _Labels | None = None
    classes: Annotated[tuple[MaskClass, ...], Meta(min_length=2, max_length=255)] | None = None
    unjudged: tuple[_Byte, ...] = ()
    unjudged_colours: tuple[_Colour, ...] = ()
    tolerance: _Byte = 0
    group: str | None = None
    sequence: Annotated[tuple[int, ...], Meta(min_length=2)] | None = None


class BoxesData(Data, frozen=True, kw_only=True, tag_field="kind", tag="boxes"):
    """`kind = "boxes"`: pictures in a folder, their boxes in one JSON file; for detection.

    The file maps the name of a picture to its boxes, `[x0, y0, x1, y1]` or `[x, y, width, height]` each, a name
    of the class before or after the numbers; or to a table with `boxes_xyxy` or `boxes_xywh`, and `w`, `h`.

    Attributes:
        path: Folder, relative to the data root.
        boxes: The JSON file, below `path`.
        images: Folder of the pictures, below `path`.
        coding: What four numbers mean, where the file does not say it.
        labels: Class names; None: those in the file, sorted. A box without a name is of the only class there is,
            or of `object`.
        unlisted: A picture that the file does not name: `error`, `empty` (it has no box) or `skip`.
        group: As in `mask-folders`.
    """

    path: str
    boxes: str
    images: str = "images"
    coding: Literal["xyxy", "xywh"] = "xyxy"
    labels: Annotated[tuple[Line, ...], Meta(min_length=1)] | None = None
    unlisted: Literal["error", "empty", "skip"] = "error"
    group: str | None = None


class CocoData(Data, frozen=True, kw_only=True, tag_field="kind", tag="coco"):
    """`kind = "coco"`: instances in COCO's JSON; for detection.

    Attributes:
        path: Folder, relative to the data root.
        annotations: The JSON file, below `path`. Its categories, by id, are the classes.
        images: Folder that `file_name` starts from, below `path`.
        labels: The categories to keep, in this order; None: all, by id. Boxes of others are left out, counted.
        group: Regular expression searched in `file_name`. None: every picture by itself.
    """

    path: str
    annotations: str
    images: str = "."
    labels: Annotated[tuple[Line, ...], Meta(min_length=1)] | None = None
    group: str | None = None


class EchoNetData(Data, frozen=True, kw_only=True, tag_field="kind", tag="echonet"):
    """`kind = "echonet"`: EchoNet-Dynamic's folder; the left ventricle in the traced frames, for segmentation.

    Splits are those of `FileList.csv` (`TEST` is the holdout); a video is a group.

    Attributes:
        path: Folder with `FileList.csv`, `VolumeTracings.csv` and `Videos/`, relative to the data root.
    """

    path: str


class VideosData(Data, frozen=True, kw_only=True, tag_field="kind", tag="videos"):
    """`kind = "videos"`: frames of videos, by class folder or without a class; a video is a group.

    Attributes:
        path: Folder, relative to the data root: `path/CLASS/...` or `path/{train,val,calibration,test}/CLASS/...`.
        labels: Order of the classes; None: the folder names, sorted.
        files: Patterns below `path`, in place of class folders: the frames have no class (reconstruction,
            generation).
        every: Take every n-th frame.
        group: Regular expression searched in the path of a video (below its class folder), to keep several
            videos together. None: a video by itself.
    """

    path: str
    labels: _Labels | None = None
    files: Annotated[tuple[str, ...], Meta(min_length=1)] | None = None
    every: Positive = 1
    group: str | None = None


class FramesData(Data, frozen=True, kw_only=True, tag_field="kind", tag="frames"):
    """`kind = "frames"`: pictures without labels, for reconstruction and generation; in pairs for translation.

    Attributes:
        path: Folder, relative to the data root.
        files: Patterns below `path` (below `inputs` where it is given); every picture where None.
        exclude: Patterns of files to leave out.
        inputs: Folder of what the model sees, below `path`; with `targets`.
        targets: Folder of what it should become, below `path`: the same path below it, whatever the file type.
        speckle: The pictures are what should come out; what goes in are the same with simulated speckle, of
            this correlation length in pixels (`bedside.export.data.speckled`).
        group: As in `mask-folders`.
    """

    path: str
    files: Annotated[tuple[str, ...], Meta(min_length=1)] | None = None
    exclude: tuple[str, ...] = ()
    inputs: str | None = None
    targets: str | None = None
    speckle: Annotated[float, Meta(gt=0.0, le=16.0)] | None = None
    group: str | None = None


class SyntheticData(Data, frozen=True, kw_only=True, tag_field="kind", tag="synthetic"):
    """`kind = "synthetic"`: drawn by `bedside.runtime.synthetic`; needs no files.

    Attributes:
        content: `classes`: ultrasound of `plain` tissue, a `cyst`, a `mass`. `classes-hard`: ten textures that
            overlap, cheap to draw by the thousand. `masks`, `boxes`: lesions of the scene, for segmentation
            and detection. `frames`: pictures without labels. `despeckle`: ultrasound with speckle, to become
            the same without.
        scene: What `masks`, `boxes` and `frames` show: `ultrasound` (cyst, hypoechoic and hyperechoic mass) or
            `endoscopy` (polyp).
        samples: Per class, or in all where there are none.
        width: Of a drawn frame, in pixels.
        height: Of a drawn frame, in pixels.
    """

    content: Literal["classes", "classes-hard", "masks", "boxes", "frames", "despeckle"] = "classes"
    scene: Literal["ultrasound", "endoscopy"] = "ultrasound"
    samples: Annotated[int, Meta(ge=4, le=1_000_000)] = 200
    width: _DrawnSide = 128
    height: _DrawnSide = 128


class CollectionItem(_Strict, frozen=True, kw_only=True):
    """One entry of `[[data.items]]`: files by pattern, or drawn frames.

    Attributes:
        label: Class of all of them.
        glob: Pattern below the data root (`**` allowed): images, or DICOM objects (`.dcm`).
        exclude: Patterns of files to leave out, below the data root.
        group: Regular expression searched in the path below the data root; see `ClassFoldersData.group`.
            None: every file by itself, every DICOM object by itself.
        split: Put all of them there, instead of drawing.
        synthetic: Draw instead of reading: `ultrasound`, `endoscopy` or `patterns`.
        count: How many to draw.
    """

    label: Line
    glob: str | None = None
    exclude: tuple[str, ...] = ()
    group: str | None = None
    split: Literal["train", "validation", "calibration", "holdout"] | None = None
    synthetic: Literal["ultrasound", "endoscopy", "patterns"] | None = None
    count: Positive | None = None


class CollectionData(Data, frozen=True, kw_only=True, tag_field="kind", tag="collection"):
    """`kind = "collection"`: classes put together from several places.

    Attributes:
        labels: Class names, in the order of the output.
        items: What belongs to them.
        path: Folder that the patterns start from, relative to the data root.
    """

    labels: _Labels
    items: Annotated[tuple[CollectionItem, ...], Meta(min_length=1)]
    path: str = "."


DataRecipe = (
    ClassFoldersData
    | DicomFoldersData
    | MedMnistData
    | MaskFoldersData
    | BoxesData
    | CocoData
    | EchoNetData
    | VideosData
    | FramesData
    | SyntheticData
    | CollectionData
)
