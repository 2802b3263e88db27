"""The workstation side of bedside: data, training, conversion, quantization, gates, one bundle."""
