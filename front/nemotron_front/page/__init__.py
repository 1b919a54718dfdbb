"""The chat page: its files, and the rendering of what it shows."""
