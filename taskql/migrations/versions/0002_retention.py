"""What retention looks for: finished tasks by age. A row enters this index once, at its end.

Its condition is on `finished_at` and not on `outcome`, lest the planner take it for an index of listings.
"""

from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.execute("CREATE INDEX tasks_retention ON tasks (finished_at) WHERE finished_at IS NOT NULL")
