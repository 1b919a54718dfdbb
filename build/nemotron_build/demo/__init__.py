"""The demo: a small real model, fetched once, in a package that any CPU serves."""
