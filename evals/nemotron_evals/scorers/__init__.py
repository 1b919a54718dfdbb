"""How the answers of each benchmark are scored."""
