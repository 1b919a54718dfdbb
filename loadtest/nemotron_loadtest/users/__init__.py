"""Who asks: Locust's users on this stack's client. `patched` has to be imported before the client makes a channel."""
