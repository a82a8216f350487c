"""The engine over a real PostgreSQL."""

from taskql.adapters.postgres.engine import connection, open_engine
from taskql.devstack import DevStack


async def test_with_a_ping_first_a_connection_that_broke_in_its_sleep_is_made_anew(stack: DevStack) -> None:
    url = stack.env["DATABASE_URL"]
    async with open_engine(url, 2, ping_first=True) as engine, open_engine(url, 2) as other:
        async with connection(engine) as opened:
            slept = (await opened.exec_driver_sql("SELECT pg_backend_pid()")).scalar_one()
        async with connection(other) as opened:
            await opened.exec_driver_sql(f"SELECT pg_terminate_backend({slept}, 5000)")
        async with connection(engine) as opened:
            assert (await opened.exec_driver_sql("SELECT pg_backend_pid()")).scalar_one() != slept
