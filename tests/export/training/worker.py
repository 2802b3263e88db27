"""One worker of a distributed training: `worker.py FOLDER STRATEGY`, with TF_CONFIG in the environment."""

import importlib.util
import json
import sys
from pathlib import Path


def main() -> None:
    folder, strategy = Path(sys.argv[1]), sys.argv[2]
    spec = importlib.util.spec_from_file_location("made", Path(__file__).with_name("conftest.py"))
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    from bedside.export.steps import Silent
    from bedside.export.training import optimizing
    from bedside.export.training.run import train

    optimizing._CLIP = 0.3  # so that every step is clipped: the norm has to be that of all replicas together
    # 45 frames in batches of 8: the last one has 5, which two workers cannot share evenly.
    data = made.data_of(("dark", "bright"), made.bright_and_dark(45, 1), made.bright_and_dark(16, 2))
    recipe = made.recipe_of(
        epochs=3, strategy=strategy, optimizer="adamw", schedule="cosine", average=0.8, warm_up=1
    )
    result = train(recipe, data, folder, Silent())
    x = data.validation.items[1].load()[0][None].astype("float32")
    found = {
        "history": result.history,
        "notes": result.notes,
        "resumed": result.resumed_from,
        "answer": result.model.predict(x, verbose=0)[0].tolist(),
    }
    (folder / "found.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main()
