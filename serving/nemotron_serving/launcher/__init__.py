"""nemotron-serve: find Triton, start it on a package, watch it, stop it."""
