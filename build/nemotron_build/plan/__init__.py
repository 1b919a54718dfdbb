"""Whether a model fits a machine and how fast it will be there, from arithmetic alone: no GPU, no weights, no torch."""
