"""Tasks, their dispatch rows, dead letters, and the guard of the lifecycle.

Rules that the indexes keep: none names a column that changes in flight, so that claims, heartbeats and
progress stay heap-only updates; a row enters the partial indexes on `outcome` once, at its end.
"""

from alembic import op

revision = "0001"
down_revision = None

TASKS = """
CREATE TABLE tasks (
    id               uuid PRIMARY KEY DEFAULT uuidv7(),
    owner            text NOT NULL,
    kind             text NOT NULL,
    title            text NOT NULL CHECK (char_length(title) BETWEEN 1 AND 255),
    description      text CHECK (char_length(description) <= 10000),
    input            json NOT NULL,
    tags             text[] NOT NULL DEFAULT '{}',
    status           text NOT NULL DEFAULT 'PENDING'
                     CHECK (status IN ('PENDING', 'PROCESSING', 'COMPLETED', 'FAILED', 'CANCELLED')),
    version          integer NOT NULL DEFAULT 1,
    priority         text NOT NULL DEFAULT 'NORMAL' CHECK (priority IN ('HIGH', 'NORMAL', 'LOW')),
    ordering_key     text,
    ordering_number  bigint,
    idempotency_key  text,
    request_hash     bytea,
    attempt          integer NOT NULL DEFAULT 0,
    max_attempts     integer NOT NULL CHECK (max_attempts >= 1),
    attempts         jsonb NOT NULL DEFAULT '[]',
    progress         jsonb,
    result           json,
    result_location  text,
    failure          jsonb,
    run_at           timestamptz,
    expires_at       timestamptz,
    trace_context    jsonb,
    created_at       timestamptz NOT NULL DEFAULT now(),
    updated_at       timestamptz NOT NULL DEFAULT now(),
    outcome          text CHECK (outcome IN ('COMPLETED', 'FAILED', 'CANCELLED')),
    started_at       timestamptz,
    finished_at      timestamptz,
    CONSTRAINT outcome_is_the_terminal_status CHECK (
        outcome IS NOT DISTINCT FROM CASE WHEN status IN ('COMPLETED', 'FAILED', 'CANCELLED') THEN status END
    ),
    CONSTRAINT finished_when_terminal CHECK ((outcome IS NULL) = (finished_at IS NULL)),
    CONSTRAINT a_key_has_a_hash CHECK ((idempotency_key IS NULL) = (request_hash IS NULL))
) WITH (fillfactor = 70)
"""

TASKS_INDEXES = (
    "CREATE UNIQUE INDEX tasks_idempotency ON tasks (owner, idempotency_key) "
    "WHERE idempotency_key IS NOT NULL",
    "CREATE INDEX tasks_listing ON tasks (owner, created_at, id)",
    "CREATE INDEX tasks_listing_finished ON tasks (owner, outcome, created_at, id) WHERE outcome IS NOT NULL",
)

DISPATCH = """
CREATE TABLE dispatch (
    task_id           uuid PRIMARY KEY REFERENCES tasks (id) ON DELETE CASCADE,
    queue             text NOT NULL,
    available_at      timestamptz NOT NULL DEFAULT now(),
    reserved_until    timestamptz,
    sent_at           timestamptz,
    sends             integer NOT NULL DEFAULT 0,
    attempt           integer NOT NULL DEFAULT 0,
    lease_expires_at  timestamptz,
    expires_at        timestamptz,
    ordering_group    text,
    blocked           boolean NOT NULL DEFAULT false
) WITH (fillfactor = 70)
"""

DISPATCH_UNSENT = "CREATE INDEX dispatch_unsent ON dispatch (available_at) WHERE sent_at IS NULL"

DISPATCH_COMMENT = """
COMMENT ON TABLE dispatch IS
    'One row per task that is not terminal. Every transition locks this row first, then the task.'
"""

WATERMARKS = "CREATE TABLE watermarks (queue text PRIMARY KEY, sent_at timestamptz NOT NULL)"

DEAD_LETTERS = """
CREATE TABLE dead_letters (
    id              uuid PRIMARY KEY DEFAULT uuidv7(),
    reason          text NOT NULL,
    task_id         uuid,
    owner           text,
    attempt         integer,
    queue           text NOT NULL,
    body            text,
    at              timestamptz NOT NULL DEFAULT now(),
    reserved_until  timestamptz,
    sent_at         timestamptz
)
"""

DEAD_LETTERS_INDEXES = (
    "CREATE INDEX dead_letters_unsent ON dead_letters (id) WHERE sent_at IS NULL",
    "CREATE INDEX dead_letters_of_task ON dead_letters (task_id) WHERE task_id IS NOT NULL",
)

GUARD = """
CREATE FUNCTION tasks_guard() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (OLD.status, NEW.status) NOT IN (
        ('PENDING', 'PROCESSING'), ('PROCESSING', 'PROCESSING'),
        ('PROCESSING', 'COMPLETED'), ('PROCESSING', 'FAILED'), ('PROCESSING', 'PENDING'),
        ('PENDING', 'FAILED'), ('PENDING', 'CANCELLED'), ('PROCESSING', 'CANCELLED'),
        ('FAILED', 'PENDING'), ('CANCELLED', 'PENDING')
    ) THEN
        RAISE check_violation
            USING MESSAGE = format('a task does not go from %s to %s', OLD.status, NEW.status);
    END IF;
    IF NEW.version <> OLD.version + 1 THEN
        RAISE check_violation USING MESSAGE = 'a change that a watcher can see raises version by one';
    END IF;
    IF NEW.attempt <> OLD.attempt + (OLD.status = 'PENDING' AND NEW.status = 'PROCESSING')::integer THEN
        RAISE check_violation USING MESSAGE = 'attempt rises by one at each claim and at no other time';
    END IF;
    IF (NEW.id, NEW.owner, NEW.kind, NEW.created_at) <> (OLD.id, OLD.owner, OLD.kind, OLD.created_at) THEN
        RAISE check_violation USING MESSAGE = 'id, owner, kind and created_at never change';
    END IF;
    RETURN NEW;
END $$
"""

GUARD_TRIGGER = (
    "CREATE TRIGGER tasks_guard BEFORE UPDATE ON tasks FOR EACH ROW EXECUTE FUNCTION tasks_guard()"
)

STATEMENTS = (
    TASKS,
    *TASKS_INDEXES,
    DISPATCH,
    DISPATCH_UNSENT,
    DISPATCH_COMMENT,
    WATERMARKS,
    DEAD_LETTERS,
    *DEAD_LETTERS_INDEXES,
    GUARD,
    GUARD_TRIGGER,
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.get_bind().exec_driver_sql(statement)
