"""The vocabulary of graphql-transport-ws: close codes, messages as frames, and what is no message."""

import json
from enum import IntEnum
from typing import Any

from starlette.types import Message

from gql.request import bulk_fault, field_fault

SUBPROTOCOL = "graphql-transport-ws"
MAX_ID_CHARS = 1_000


class CloseCode(IntEnum):
    """The codes of graphql-transport-ws, and of WebSockets themselves those that ask to connect again."""

    GOING_AWAY = 1001
    TRY_AGAIN_LATER = 1013
    BAD_REQUEST = 4400
    UNAUTHORIZED = 4401
    FORBIDDEN = 4403
    SUBPROTOCOL_NOT_ACCEPTABLE = 4406
    INIT_TIMEOUT = 4408
    SUBSCRIBER_EXISTS = 4409
    TOO_MANY_INITS = 4429


def message_frame(id: str, kind: str, payload: str | None = None) -> Message:
    """A message about an operation, around a payload that is JSON already."""
    rest = f',"payload":{payload}}}' if payload is not None else "}"
    return text_frame(f'{{"id":{json.dumps(id)},"type":"{kind}"{rest}')


def text_frame(text: str) -> Message:
    return {"type": "websocket.send", "text": text}


def message_fault(message: object, text: str) -> str | None:
    """Why a frame with this text is no message of the protocol, in words; None where it is one."""
    if not isinstance(message, dict):
        return "A message must be a JSON object"
    match message.get("type"):
        case "connection_init" | "ping" | "pong":
            return None if isinstance(message.get("payload", {}), dict) else "`payload` must be an object"
        case "subscribe":
            payload = message.get("payload")
            if not isinstance(payload, dict):
                return "`payload` must be an object"
            return id_fault(message) or field_fault(payload) or bulk_fault(payload, text)
        case "complete":
            return id_fault(message)
        case _:
            return "`type` must be that of a message to a graphql-transport-ws server"


def id_fault(message: dict[str, Any]) -> str | None:
    id = message.get("id")
    if not isinstance(id, str) or not id:
        return "`id` must be a text that is not empty"
    return f"`id` must not have more than {MAX_ID_CHARS} characters" if len(id) > MAX_ID_CHARS else None
