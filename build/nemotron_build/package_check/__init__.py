"""Looking at a package: its files against what it promises, and its answers while it is served."""
