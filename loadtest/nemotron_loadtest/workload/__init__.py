"""What is asked."""

from nemotron_loadtest.workload.conversations import ConversationSource, open_workload
from nemotron_loadtest.workload.requests import Conversation, RequestSpec

__all__ = ["Conversation", "ConversationSource", "RequestSpec", "open_workload"]
