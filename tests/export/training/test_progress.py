"""The progress bar: what it shows, and that it always gives the terminal back."""

import io

from rich.console import Console

from bedside.export.training.progress import BarProgress, EpochReport


def shown(width: int = 120) -> tuple[BarProgress, io.StringIO]:
    stream = io.StringIO()
    return BarProgress(Console(file=stream, force_terminal=True, width=width)), stream


def report(epoch: int, best: bool = True) -> EpochReport:
    return EpochReport(
        epoch=epoch, epochs=5, loss=0.5, val_loss=0.25, metric="Dice", score=0.8, val_score=0.875, best=best
    )


def test_it_shows_epoch_loss_and_score() -> None:
    bar, stream = shown()
    with bar:
        bar.begin(5, 2, 0)
        bar.step(0, 0)
        bar.step(0, 1)
        bar.epoch(report(1))
    text = stream.getvalue()
    for part in ("training", "1/5", "loss 0.500", "val loss 0.250", "val Dice 0.875"):
        assert part in text
    assert text.rstrip().endswith("\x1b[?25h"), "the cursor is back"


def test_a_resumed_training_starts_where_it_was() -> None:
    bar, stream = shown()
    with bar:
        bar.begin(5, 2, 3)
    assert "3/5" in stream.getvalue()
    assert "resumed after epoch 3" in stream.getvalue()


def test_it_can_be_ended_twice_and_told_things_before_it_begins() -> None:
    bar, stream = shown()
    bar.step(0, 0)
    bar.epoch(report(1))
    bar.end()
    bar.end()
    assert stream.getvalue() == ""


def test_a_task_without_a_score_shows_its_loss_alone() -> None:
    bar, stream = shown()
    with bar:
        bar.begin(5, 2, 0)
        bar.epoch(EpochReport(epoch=1, epochs=5, loss=0.5, val_loss=0.25))
    assert "val loss 0.250" in stream.getvalue()
    assert "val  " not in stream.getvalue()
