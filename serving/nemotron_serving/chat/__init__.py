"""From a request's text or messages to prompt token ids."""
