"""MessageSender and MessageReceiver over Amazon SQS, or whatever speaks its protocol."""

from taskql.adapters.sqs.client import SqsClient, open_client
from taskql.adapters.sqs.receiver import SqsReceiver, open_control, open_receiver
from taskql.adapters.sqs.sender import SqsSender, open_sender

__all__ = [
    "SqsClient",
    "SqsReceiver",
    "SqsSender",
    "open_client",
    "open_control",
    "open_receiver",
    "open_sender",
]
