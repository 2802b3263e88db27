"""From a Keras model to the files that devices run."""

# First of all: TensorFlow writes to the terminal when it is imported, unless this module does it.
from bedside.export import backend

__all__ = ["backend"]
