"""Talk to a Nemotron Nano server from Python."""
