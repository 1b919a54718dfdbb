"""Runs a scenario: sends what it says when it says so, and keeps what comes back."""
