"""OpenAI's and Anthropic's APIs and a chat page, in front of Triton servers that the client talks to."""
