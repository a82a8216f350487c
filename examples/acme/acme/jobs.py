"""All of Acme's handlers, and what they share: the module that `TASK_HANDLERS` or the entry point names."""

from acme.fetching import fetch, http_client
from acme.summaries import summarise

__all__ = ["fetch", "http_client", "summarise"]
