"""`python -m nemotron_client.chat` is nemotron-chat."""

from nemotron_client.chat.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
