"""What `make run` prints once everything is up: where to look, and first requests that work as printed."""

ANY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1"}
JSON = "-H 'Content-Type: application/json'"
STREAM = "-N -H 'Accept: text/event-stream'"

# GraphQL inside JSON inside a shell's single quotes; the last one steps out of the quotes for its variable.
CREATE = r"mutation { createTask(input: {title: \"Hello\"}) { task { id status } } }"
LIST = r"{ tasks(first: 5) { nodes { id title status } } }"
COUNT_DOWN = (
    r"mutation { createTask(input: {title: \"Liftoff\", work: {countdown: {steps: 5}}}) { task { id } } }"
)
WATCH = r"""subscription { taskStatus(id: \"'$ID'\") { status progress { fraction message } } }"""
TAKE_ID = r"""sed 's/.*"id": *"\([^"]*\)".*/\1/'"""


def reachable(host: str) -> str:
    """An address at which this machine reaches what listens on `host`."""
    return ANY_ADDRESS.get(host, host)


def base_url(host: str, port: int) -> str:
    host = reachable(host)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def welcome(base: str, data: str) -> str:
    """Each request can be pasted into bash, dash or zsh, and needs no more than curl and sed."""
    url = f"{base}/graphql"
    return f"""
TaskQL is running. Ctrl-C stops it; its data stays in {data}

  GraphiQL and API   {url}
  ready?             {base}/readyz

Three requests to paste into another terminal.

Create a task:

  {curl(url, CREATE)}

List the latest ones:

  {curl(url, LIST)}

Create a countdown and watch it live:

  ID=$({curl(url, COUNT_DOWN)} | {TAKE_ID})
  {curl(url, WATCH, STREAM)}
"""


def curl(url: str, document: str, options: str = "") -> str:
    words = " ".join(filter(None, ["curl -s", url, JSON, options]))
    return f'{words} \\\n    -d \'{{"query": "{document}"}}\''
