"""What is asked."""

from nemotron_loadtest.workload.requests import Conversation, RequestSpec
from nemotron_loadtest.workload.source import ConversationSource, open_workload

__all__ = ["Conversation", "ConversationSource", "RequestSpec", "open_workload"]
