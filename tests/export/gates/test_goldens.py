import numpy as np

from bedside.export.data.types import DataSet
from bedside.export.gates.goldens import golden_inputs, golden_samples
from bedside.runtime.bundle.manifest import InputSpec


def test_samples_reach_every_grey_level_and_every_frequency() -> None:
    for channels in (1, 3):
        samples = golden_samples(
            InputSpec(width=40, height=24, channels=channels, color="rgb" if channels == 3 else "gray")
        )
        assert samples.shape == (3, 24, 40, channels)
        assert samples.dtype == np.uint8
        assert all(s.min() <= 8 and s.max() >= 247 for s in samples)
        assert len(np.unique(samples[0])) > 200
        assert np.array_equal(
            samples,
            golden_samples(
                InputSpec(width=40, height=24, channels=channels, color="rgb" if channels == 3 else "gray")
            ),
        )


def test_no_frame_of_the_data_unless_asked_for(data: DataSet) -> None:
    own = {item.load()[0].tobytes() for item in data.holdout.items}
    drawn = golden_inputs(InputSpec(width=40, height=24), data.holdout)
    assert drawn
    assert not own & {golden.pixels.tobytes() for golden in drawn}
    asked = golden_inputs(InputSpec(width=40, height=24), data.holdout, 2)
    assert len(own & {golden.pixels.tobytes() for golden in asked}) == 2
    assert asked[-1].color == "rgb"
