"""What Triton's models call: preprocess, generate, postprocess, and one call as one answer; see `model_repository`."""
