"""From a Hugging Face checkpoint to what TensorRT-LLM reads: BF16 as it is, or FP8 with calibrated scales."""
