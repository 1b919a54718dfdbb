"""Hypothesis without deadlines, for the machine may be busy, and without a memory of earlier runs."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("unit", deadline=None, max_examples=80, database=None)
settings.load_profile("unit")
