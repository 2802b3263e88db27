"""`[data]`: what contradicts itself is refused in one line that names the keys."""

import tomllib
from typing import Any

import msgspec
import pytest

from bedside.export.data.recipe import DataRecipe, SyntheticData
from bedside.export.data.recipe_checks import check_data, labels_of, tasks_of
from bedside.runtime import strict_toml
from bedside.runtime.errors import RecipeError


class _Recipe(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    data: DataRecipe


def parse(text: str) -> Any:
    recipe = strict_toml.convert(tomllib.loads(f"[data]\n{text}"), _Recipe, error=RecipeError, where="r.toml")
    check_data(recipe.data, where="r.toml")
    return recipe.data


PICTURES = ("reconstruction", "generation")
MASKS = 'kind = "mask-folders"\npath = "x"\n'
INDEX = MASKS + 'coding = "index"\n'
COLOUR = MASKS + 'coding = "colour"\n'
FRAMES = 'kind = "frames"\npath = "x"\n'
TABLE = '[[data.classes]]\nlabel = "a"\n{}\n[[data.classes]]\nlabel = "b"\n{}\n'
COLOURS = TABLE.format('colours = ["#000000"]', 'colours = ["#800000", "#ff0000"]')


@pytest.mark.parametrize(
    ("text", "tasks"),
    [
        ('kind = "class-folders"\npath = "x"', ("classification", *PICTURES)),
        ('kind = "medmnist"\npath = "x.npz"', ("classification", *PICTURES)),
        (MASKS, ("segmentation", *PICTURES)),
        (
            INDEX + 'labels = ["a", "b", "c"]\nunjudged = [255]',
            ("segmentation", *PICTURES),
        ),
        (COLOUR + COLOURS, ("segmentation", *PICTURES)),
        (
            MASKS + 'images = "a"\nmasks = "b"\nsequence = [1, 26, 51]',
            ("segmentation", *PICTURES),
        ),
        ('kind = "echonet"\npath = "x"', ("segmentation", *PICTURES)),
        ('kind = "boxes"\npath = "x"\nboxes = "b.json"', ("detection", *PICTURES)),
        ('kind = "coco"\npath = "x"\nannotations = "a.json"', ("detection", *PICTURES)),
        ('kind = "videos"\npath = "x"', ("classification", *PICTURES)),
        ('kind = "videos"\npath = "x"\nfiles = ["*.mp4"]', PICTURES),
        (FRAMES, PICTURES),
        (FRAMES + 'inputs = "a"\ntargets = "b"', ("translation",)),
        (FRAMES + "speckle = 1.5", ("translation",)),
        ('kind = "synthetic"', ("classification", *PICTURES)),
        ('kind = "synthetic"\ncontent = "classes-hard"', ("classification", *PICTURES)),
        (
            'kind = "synthetic"\ncontent = "masks"\nscene = "endoscopy"',
            ("segmentation", *PICTURES),
        ),
        ('kind = "synthetic"\ncontent = "boxes"', ("detection", *PICTURES)),
        ('kind = "synthetic"\ncontent = "frames"', PICTURES),
        ('kind = "synthetic"\ncontent = "despeckle"', ("translation",)),
    ],
)
def test_every_kind_and_what_it_is_for(text: str, tasks: tuple[str, ...]):
    assert tasks_of(parse(text)) == tasks


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('kind = "synthetic"\nholdout = 0.5\nvalidation = 0.3\ncalibration = 0.2',
         r"data.holdout 0.5 and data.validation 0.3 and data.calibration 0.2 leave nothing"),
        ('kind = "synthetic"\nnear_duplicates = "drop"', r"data.near_duplicates"),
        ('kind = "synthetic"\ncontent = "masks"\nwidth = 20', r"data.width is 20, a drawn scene has at least 48"),
        ('kind = "synthetic"\nscene = "endoscopy"', r"data.scene 'endoscopy' does not fit data.content 'classes'"),
        ('kind = "synthetic"\nmasks = "x"', r"unknown key data.masks"),
        (MASKS + 'images = "a"', r"data.images and data.masks go together"),
        (MASKS + 'images = "../a"\nmasks = "b"', r"data.images '../a' does not lie below data.path"),
        (MASKS + 'group = "("', r"data.group '\(' is not a regular expression"),
        (MASKS + 'group = "a"\nsequence = [1, 2]', r"data.group and data.sequence both name groups"),
        (MASKS + "sequence = [2, 1]", r"data.sequence does not ascend"),
        (MASKS + 'labels = ["a", "b", "c"]', r'data.coding "binary" has two classes'),
        (MASKS + 'labels = ["a", "a"]', r"data.labels has a label twice: a, a"),
        (MASKS + COLOURS, r'data.classes does not fit data.coding "binary"'),
        (INDEX, r'data.coding "index" needs data.labels or data.classes'),
        (INDEX + 'labels = ["a", "b"]\n' + TABLE.format("values = [0]", "values = [1]"), r"both name classes"),
        (INDEX + COLOURS, r"data.classes\[0\] needs values"),
        (INDEX + TABLE.format("values = [0, 1]", "values = [1]"), r"1 means two things"),
        (INDEX + 'labels = ["a", "b"]\ntolerance = 5', r"data.tolerance is for data.coding"),
        (INDEX + 'labels = ["a", "b"]\nunjudged_colours = ["#000000"]', r"data.unjudged_colours for"),
        (COLOUR + 'labels = ["a", "b"]', r'data.coding "colour" needs data.classes'),
        (COLOUR + TABLE.format('colours = ["#AABBCC"]', 'colours = ["#aabbcc"]'), r"#aabbcc means two things"),
        (COLOUR + TABLE.format('colours = ["red"]', 'colours = ["#aabbcc"]'), r"data.classes\[0\].colours"),
        (COLOUR + 'unjudged_colours = ["#800000"]\n' + COLOURS, r"#800000 means two things"),
        ('kind = "boxes"\npath = "x"\nboxes = "/b.json"', r"data.boxes '/b.json' does not lie below"),
        ('kind = "boxes"\npath = "x"', r"the key data.boxes is missing"),
        ('kind = "coco"\npath = "x"\nannotations = "a/../../b"', r"data.annotations .* does not lie below"),
        ('kind = "videos"\npath = "x"\nfiles = ["a"]\nlabels = ["a", "b"]', r"data.files names frames"),
        ('kind = "videos"\npath = "x"\nfiles = ["../a"]', r"data.files: '../a' is no pattern below"),
        (FRAMES + 'inputs = "a"', r"data.inputs and data.targets go together"),
        (FRAMES + 'inputs = "a"\ntargets = "b"\nspeckle = 1.0', r"data.speckle and data.inputs contradict"),
        (FRAMES + "speckle = 0.0", r"data.speckle"),
    ],
)  # fmt: skip
def test_contradictions_are_named(text: str, expected: str):
    with pytest.raises(RecipeError, match=expected) as caught:
        parse(text)
    assert str(caught.value).startswith("r.toml: ")
    assert "\n" not in str(caught.value)


def test_labels_that_a_recipe_states():
    assert labels_of(parse(COLOUR + COLOURS)) == ("a", "b")
    assert labels_of(parse(INDEX + 'labels = ["a", "b", "c"]')) == ("a", "b", "c")
    assert labels_of(parse(MASKS)) is None
    assert labels_of(SyntheticData()) is None
