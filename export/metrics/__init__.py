"""How good an answer is: numbers over arrays, with their intervals. Needs no model."""
