"""Reading a downloaded Hugging Face checkpoint, without running its code and without loading its weights."""
