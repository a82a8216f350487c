"""`python -m tests.generated`: the long proof, what `make fuzz` calls. Exit code 1 if anything was found."""

import argparse
import asyncio
import random
import signal
import sys
import tempfile
import time
import traceback
from pathlib import Path

from redis import Redis

from taskql.devstack import DevStack
from tests.generated.campaign import SORTS, Campaign
from tests.generated.stage import Belongings, stage

WARM_UP = 2
"""This part of the cases comes first. What it leaves is not counted: documents are remembered, and garbage
is collected as a whole only now and then.
"""


def main() -> int:
    parser = argparse.ArgumentParser("python -m tests.generated", description=__doc__)
    parser.add_argument("--cases", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6), help="the same cases once more")
    parser.add_argument("--only", choices=SORTS, action="append", help="one sort alone")
    options = parser.parse_args()
    for number in (signal.SIGINT, signal.SIGTERM):  # in the background Python would heed neither
        signal.signal(number, signal.default_int_handler)
    with tempfile.TemporaryDirectory(prefix="taskql-generated-") as folder:
        (data := Path(folder, "stack")).mkdir()
        with DevStack(data=data, say=lambda _: None) as stack:
            sorts = options.only or list(SORTS)
            return asyncio.run(run(stack, Path(folder), options.cases, options.seed, sorts))


async def run(stack: DevStack, folder: Path, cases: int, seed: int, sorts: list[str]) -> int:
    print(f"seed {seed}", flush=True)
    parts = {sort: round(cases * SORTS[sort].part) for sort in sorts}
    findings = 0
    async with stage(stack, folder) as campaign:
        with Redis.from_url(stack.env["REDIS_URL"]) as redis:
            for sort, count in parts.items():
                findings += attempt(campaign, sort, count // WARM_UP, seed)
            before = Belongings(campaign, redis)
            for sort, count in parts.items():
                began = time.monotonic()
                findings += attempt(campaign, sort, count - count // WARM_UP, seed + 1)
                seconds = time.monotonic() - began
                print(f"{sort:<16}{campaign.cases[sort]:>7} cases, {seconds:.0f} s", flush=True)
            print("\n".join(before.check()))
    print(f"{'all':<16}{campaign.cases.total():>7} cases, {findings} findings")
    for answer, times in sorted(campaign.answers.items()):
        print(f"  {answer:<16}{times:>7}")
    return int(bool(findings))


def attempt(campaign: Campaign, sort: str, cases: int, seed: int) -> bool:
    """Whether something was found; tells of the case that shows it, with which this sort ends."""
    try:
        campaign.run(sort, cases, seed)
    except Exception as error:
        traceback.print_exception(error, limit=1)
        return True
    return False


if __name__ == "__main__":
    sys.exit(main())
