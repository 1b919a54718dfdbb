"""Profiles: what to build, for which hardware, within which limits. One small TOML file each."""

from nemotron_build.profiles.profile import (
    Accuracy,
    Calibration,
    Profile,
    ProfileLimits,
    builtin_profiles,
    load_profile,
)

__all__ = ["Accuracy", "Calibration", "Profile", "ProfileLimits", "builtin_profiles", "load_profile"]
