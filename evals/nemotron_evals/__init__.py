"""nemotron-eval: the model card's benchmarks against an endpoint, and whether one engine may replace another."""
