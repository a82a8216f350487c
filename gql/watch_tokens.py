"""Watch tokens: whoever bears one may start to watch one task, and do nothing else.

Invariant: they are signed by a key of TaskQL's own that all API processes share, and marked as what they are,
so that none passes for a user's token, nor the other way round.
"""

import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from uuid import UUID

import jwt

from gql.bearer import refused
from gql.keys import Key
from gql.tokens import end_of, owner_of, verified
from gql.viewer import Viewer

WATCH_TYPE = "taskql-watch+jwt"
AUDIENCE = "taskql:watch"
ALGORITHM = "HS256"
SECRET = "watch-tokens"
"""The name of the key among the secrets."""
DEFAULT_TTL_SECONDS = 3_600
MAX_TTL_SECONDS = 86_400

FetchSecret = Callable[[str], Awaitable[bytes]]
"""The secret of this name, made by whoever asks first."""


class WatchTokens:
    """Makes them and knows them again."""

    def __init__(self, fetch_secret: FetchSecret, clock: Callable[[], float] = time.time) -> None:
        self._fetch_secret = fetch_secret
        self._clock = clock
        self._key: Key | None = None

    async def issue(self, owner: str, task_id: UUID, ttl: timedelta) -> tuple[str, datetime]:
        """A token for this task of the owner's, and when it ends."""
        key = await self._fetched_key()
        ends_at = int(self._clock() + ttl.total_seconds())
        claims = {"sub": owner, "task": str(task_id), "aud": AUDIENCE, "exp": ends_at}
        token = jwt.encode(claims, key.material, ALGORITHM, headers={"typ": WATCH_TYPE})
        return token, datetime.fromtimestamp(ends_at, UTC)

    async def viewer(self, token: str) -> Viewer:
        """Who bears the token. Raises Unauthenticated."""
        claims = verified(token, [await self._fetched_key()], audience=AUDIENCE)
        try:
            task_id = UUID(claims["task"])
        except (KeyError, ValueError):
            raise refused("The watch token names no task.") from None
        return Viewer(owner_of(claims), frozenset(), end_of(claims), watches=task_id)

    async def _fetched_key(self) -> Key:
        if self._key is None:
            self._key = Key(await self._fetch_secret(SECRET), (ALGORITHM,))
        return self._key
