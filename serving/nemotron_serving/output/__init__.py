"""From token ids to text and typed fields, incrementally and in any chunking."""
