"""`bedside generate`: pictures in a folder, again in another run, and what it refuses."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from bedside.devices.cli.main import main
from bedside.runtime import engines
from bedside.runtime.bundle.decode import GenerationDecode
from bedside.runtime.bundle.reader import dump_npy, open_bundle
from bedside.runtime.bundle.writer import file_ref, write_bundle
from bedside.runtime.drawing import draw
from bedside.runtime.engines.protocol import SessionOptions
from bedside.runtime.errors import UsageError
from bedside.runtime.images import read_image
from bedside.runtime.latent import LatentDrawer
from bedside.runtime.loading import open_session
from bedside.runtime.packing import BundleDraft, build
from bedside.runtime.tasks import dequantize

Run = Callable[..., Any]


@pytest.fixture(scope="module")
def generator(generator_draft: BundleDraft, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("generator") / "drawer.bedside"
    write_bundle(path, *build(generator_draft))
    return path


def digests(folder: Path) -> dict[str, str]:
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(folder.iterdir())}


def test_a_folder_of_pictures(cli: Run, generator: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "drawn"
    done = cli("generate", generator, "-n", 5, "-o", out)
    assert (done.code, done.err) == (0, "")
    assert "5 pictures by tiny-generator" in done.out
    assert sorted(digests(out)) == [f"{n:06d}.png" for n in range(5)]
    pictures = [read_image(path) for path in sorted(out.iterdir())]
    assert {p.shape for p in pictures} == {(16, 16, 3)}
    assert len(set(digests(out).values())) == 5


def test_the_same_seed_draws_the_same(cli: Run, generator: Path, tmp_path: Path) -> None:
    def drawn(name: str, *words: object) -> dict[str, str]:
        out = tmp_path / name
        assert cli("generate", generator, "-n", 3, "-o", out, *words).code == 0
        return digests(out)

    first = drawn("a")
    assert drawn("b", "--seed", 0) == first
    assert not set(drawn("c", "--seed", 1).values()) & set(first.values())


def test_json_says_what_drew_them(cli: Run, generator: Path, tmp_path: Path) -> None:
    record = cli("generate", generator, "-n", 2, "-o", tmp_path / "d", "--seed", 7, "--json").json
    with open_bundle(generator) as bundle:
        assert record["bundle"] == bundle.digest
        assert record["variant"] == bundle.manifest.main.default
    assert (record["pictures"], record["seed"], record["width"], record["channels"]) == (2, 7, 16, 3)
    assert record["engine_version"] == engines.status(record["engine"]).version


@pytest.mark.parametrize("color", ["rgb", "bgr", "gray"])
def test_colours_reach_the_file(generator: Path, tmp_path: Path, color: Any, monkeypatch: Any) -> None:
    """Red is red in the file, whatever order the model draws in."""
    red = {"rgb": (200, 10, 20), "bgr": (20, 10, 200), "gray": (77,)}[color]
    pixels = np.full((16, 16, len(red)), red, np.uint8)
    monkeypatch.setattr("bedside.devices.cli.generate.draw", lambda *_, **__: iter([(pixels, color)]))
    assert main(["generate", str(generator), "-n", "1", "-o", str(tmp_path / "x")]) == 0
    found = read_image(tmp_path / "x" / "000000.png")[0, 0].tolist()
    assert found == ([77] * 3 if color == "gray" else [20, 10, 200])


def test_pictures_are_what_the_model_says(generator: Path) -> None:
    with open_bundle(generator) as bundle:
        loaded = open_session(bundle, options=SessionOptions(threads=1))
        try:
            drawn = [pixels for pixels, _ in draw(loaded, 3, seed=4)]
            latents = LatentDrawer(loaded.model.input, seed=4).draw(3)
            for pixels, latent in zip(drawn, latents, strict=True):
                np.copyto(loaded.session.input(), latent[None])
                raw = dequantize(loaded.session.invoke()[0], loaded.variant.outputs[0])
                decode = loaded.model.decode
                assert isinstance(decode, GenerationDecode)
                grey = (raw[0] - decode.low) / (decode.high - decode.low) * 255
                # Half a grey level, and what float32 loses on the way.
                assert np.abs(np.clip(grey, 0, 255) - pixels).max() <= 0.501
        finally:
            loaded.session.close()


def test_other_tasks_draw_nothing(cli: Run, bundle: Path, tmp_path: Path) -> None:
    done = cli("generate", bundle, "-o", tmp_path / "x")
    assert (done.code, done.out) == (2, "")
    assert "is a bundle for classification" in done.line
    assert not (tmp_path / "x").exists()
    with open_bundle(bundle) as opened:
        loaded = open_session(opened)
        with pytest.raises(UsageError, match="does not draw"):
            next(draw(loaded, 1))
        loaded.session.close()


def test_nothing_is_overwritten(cli: Run, generator: Path, tmp_path: Path) -> None:
    kept = tmp_path / "patient.png"
    kept.write_bytes(b"x")
    done = cli("generate", generator, "-o", tmp_path)
    assert (done.code, done.out) == (6, "")
    assert "is not empty" in done.line
    assert list(tmp_path.iterdir()) == [kept]
    assert cli("generate", generator, "-o", kept).code == 6


def test_a_full_disk_is_one_line(generator: Path, cli: Run, tmp_path: Path, monkeypatch: Any) -> None:
    write = Path.write_bytes

    def short(path: Path, data: bytes) -> int:
        if path.name == "000002.png":
            write(path, data[:10])
            raise OSError(28, "No space left on device")
        return write(path, data)

    monkeypatch.setattr(Path, "write_bytes", short)
    done = cli("generate", generator, "-n", 5, "-o", tmp_path / "x")
    assert done.code == 6
    assert "No space left" in done.line
    # What was drawn stays, and nothing is cut short.
    assert sorted(p.name for p in (tmp_path / "x").iterdir()) == ["000000.png", "000001.png"]


@pytest.mark.parametrize(
    "words",
    [
        ("-n", "0", "-o", "x"),
        ("-n", "1000001", "-o", "x"),
        ("-n", "some", "-o", "x"),
        ("--seed", "-1", "-o", "x"),
        (),
    ],
    ids=" ".join,
)
def test_usage(cli: Run, generator: Path, words: tuple[str, ...]) -> None:
    done = cli("generate", generator, *words)
    assert (done.code, done.out) == (2, "")
    assert done.line


def test_a_damaged_bundle_draws_nothing(cli: Run, generator: Path, tmp_path: Path) -> None:
    with open_bundle(generator) as bundle:
        variant = bundle.manifest.main.variant(bundle.manifest.main.default)
        assert variant is not None
        model = bundle.read(variant.file or "")
    data = bytearray(generator.read_bytes())
    data[data.index(model) + len(model) // 2] ^= 1
    (tmp_path / "bad.bedside").write_bytes(data)
    done = cli("generate", tmp_path / "bad.bedside", "-o", tmp_path / "x")
    assert done.code == 3
    assert not (tmp_path / "x").exists()


def test_goldens_come_first(cli: Run, generator_draft: BundleDraft, tmp_path: Path) -> None:
    """A bundle whose goldens do not hold here draws not one picture."""
    manifest, members = build(generator_draft)
    variant = manifest.main.golden.variants[0]
    ref = variant.outputs[0]
    recorded = np.load(io.BytesIO(members[ref.file]), allow_pickle=False)
    wrong = dump_npy(np.zeros_like(recorded))
    members[ref.file] = wrong
    other = msgspec.structs.replace(variant, outputs=(file_ref(ref.file, wrong),))
    golden = msgspec.structs.replace(
        manifest.main.golden, variants=(other, *manifest.main.golden.variants[1:])
    )
    main_model = msgspec.structs.replace(manifest.main, golden=golden)
    changed = msgspec.structs.replace(manifest, models={"main": main_model})
    write_bundle(tmp_path / "off.bedside", changed, members)
    done = cli("generate", tmp_path / "off.bedside", "--variant", variant.variant, "-o", tmp_path / "x")
    assert done.code == 5
    assert "goldens do not hold" in done.line
    assert not (tmp_path / "x").exists()
