"""nemotron-chat: a conversation with the model in a terminal, and answers for scripts. Needs the extra `chat`."""
