"""From a Keras model to the files that devices run."""
