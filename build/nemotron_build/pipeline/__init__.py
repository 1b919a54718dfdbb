"""The stages of a build, from a downloaded checkpoint to a package: each resumes, and each can be run alone."""
