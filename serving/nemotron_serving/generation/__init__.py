"""A request's generation: admission, in-flight batching, thinking budget, stop strings, cancel, deadline."""
