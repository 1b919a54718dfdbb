"""nemotron-build: from a checkpoint to a package that nemotron-serve accepts."""
