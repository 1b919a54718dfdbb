"""Profiles: what to build, for which hardware, within which limits. One small TOML file each."""

from nemotron_build.profiles.profile import (
    Accuracy,
    Calibration,
    KvCache,
    Precision,
    Profile,
    ProfileLimits,
    builtin_profiles,
    changed_profile,
    load_profile,
    profile_text,
)

__all__ = [
    "Accuracy",
    "Calibration",
    "KvCache",
    "Precision",
    "Profile",
    "ProfileLimits",
    "builtin_profiles",
    "changed_profile",
    "load_profile",
    "profile_text",
]
