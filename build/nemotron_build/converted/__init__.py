"""Holding a converted checkpoint against its source: config, tensors, scales, weights and accuracy."""
