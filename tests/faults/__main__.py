"""`python -m tests.faults`: the long proof, what `make faults` calls. Exit code 1 if a promise was broken."""

import argparse
import signal
import sys
import tempfile
from collections import Counter
from functools import partial
from pathlib import Path

from tests.faults.checker import Violation
from tests.faults.mutants import MUTANTS
from tests.faults.outage import outage
from tests.faults.trial import Report, alone, trial

OUTAGE_TASKS = 1000


def main() -> int:
    parser = argparse.ArgumentParser("python -m tests.faults", description=__doc__)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--first", type=int, default=1, help="the first seed; one alone: --first 7 --seeds 1")
    parser.add_argument("--tasks", type=int, default=250, help="tasks of each seed")
    parser.add_argument("--seconds", type=float, default=20.0, help="how long the nemesis rages in each")
    parser.add_argument(
        "--outage", type=float, default=60.0, help="then SQS is gone for so many seconds; 0: no"
    )
    parser.add_argument("--mutant", choices=MUTANTS, help="take this safeguard out, to see what happens")
    options = parser.parse_args()
    for number in (signal.SIGINT, signal.SIGTERM):  # in the background Python would heed neither
        signal.signal(number, signal.default_int_handler)
    reports = []
    with tempfile.TemporaryDirectory(prefix="taskql-faults-") as folder:
        for seed in range(options.first, options.first + options.seeds):
            (place := Path(folder, f"seed-{seed}")).mkdir()
            what = {
                "seed": seed,
                "tasks": options.tasks,
                "seconds": options.seconds,
                "mutant": options.mutant,
            }
            reports.append(alone(place, partial(trial, **what)))
            print(line(reports[-1]), flush=True)
            tell(reports[-1].violations)
        if reports:
            print(summary(reports), flush=True)
        found = [violation for report in reports for violation in report.violations]
        if options.outage:
            (place := Path(folder, "outage")).mkdir()
            gone = alone(place, partial(outage, tasks=OUTAGE_TASKS, seconds=options.outage))
            print(f"\n{OUTAGE_TASKS} tasks with SQS there:  {gone.without}")
            print(
                f"{OUTAGE_TASKS} tasks with SQS gone for {options.outage:g} s: {gone.during} since it is back"
            )
            tell(gone.violations)
            found += gone.violations
    return int(bool(found))


def tell(found: list[Violation]) -> None:
    for violation in found:
        print(f"  {violation}", flush=True)


def line(report: Report) -> str:
    verdict = f"{len(report.violations)} VIOLATIONS" if report.violations else "every promise kept"
    return (
        f"seed {report.seed:>3}: {report.faults.total():>3} faults, {report.tasks} tasks, "
        f"{report.attempts} attempts, {report.seconds:.0f} s: {verdict}"
    )


def summary(reports: list[Report]) -> str:
    faults, statuses, ways = Counter[str](), Counter[str](), Counter[str]()
    for report in reports:
        faults += report.faults
        statuses += report.statuses
        ways += report.ways
    figures = {
        "seeds": len(reports),
        "tasks": sum(report.tasks for report in reports),
        **{f"  {status}": count for status, count in sorted(statuses.items())},
        **{f"  {way}": count for way, count in ways.items()},
        "attempts": sum(report.attempts for report in reports),
        "watchers": sum(report.watchers for report in reports),
        "lost": sum(report.violated("accepted_is_kept") for report in reports),
        "double outcomes": sum(
            report.violated("one_outcome", "the_outcome_is_the_attempts_own") for report in reports
        ),
        "out of order": sum(report.violated("order_is_kept") for report in reports),
        "violations in all": sum(len(report.violations) for report in reports),
        "seconds": round(sum(report.seconds for report in reports)),
    }
    rows = [("fault", "times"), *sorted(faults.items()), ("all faults", faults.total()), ("", "")]
    width = max(map(len, (*faults, "violations in all"))) + 2
    return "\n".join(f"{name:<{width}}{value:>8}" for name, value in (*rows, *figures.items()))


if __name__ == "__main__":
    sys.exit(main())
