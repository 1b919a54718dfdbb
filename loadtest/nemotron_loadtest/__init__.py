"""Load tests of a Nemotron Nano server that tell the truth about a thinking model."""
