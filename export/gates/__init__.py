"""What a variant has to pass before it may leave: evaluation, gate, goldens, every engine."""
