"""Some hundreds of generated requests, the same ones each time; `make fuzz` sends ten thousand others."""

from collections.abc import AsyncIterator

import pytest

from taskql.devstack import DevStack
from tests.generated.campaign import SORTS, Campaign
from tests.generated.stage import stage

CASES = 300


@pytest.fixture(scope="module")
async def campaign(stack: DevStack, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Campaign]:
    """Two API processes and a consumer, which serve ordinary tasks before and after."""
    async with stage(stack, tmp_path_factory.mktemp("generated")) as campaign:
        yield campaign


@pytest.mark.parametrize("sort", SORTS)
def test_whatever_is_sent_is_answered_as_documented_and_tells_nothing_of_us(
    campaign: Campaign, sort: str
) -> None:
    campaign.run(sort, round(CASES * SORTS[sort].part))

    assert campaign.cases[sort] > 0
