"""``python -m tests.chaos``: load, faults, then the invariants. Prints what it did and what it found.

Exit status 1 when an invariant is broken or fewer than IN_FLIGHT_MIN operations were under way when a fault
struck (half of the tenants when there are fewer than twice as many).
"""

import argparse
import asyncio
import sys

from tests.chaos.storm import Plan, storm


def main() -> None:
    parser = argparse.ArgumentParser("chaos", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="spread the faults over this, or longer")
    parser.add_argument("--tenants", type=int, default=120)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", default="", help="only faults whose name contains this")
    parser.add_argument(
        "--more", action="store_true", help="also power failures, many processes at once, other freezes"
    )
    parser.add_argument("--keep", action="store_true", help="leave logs, journals and folders behind")
    given = parser.parse_args()
    plan = Plan(**vars(given))
    report = asyncio.run(storm(plan))
    print("\n".join(report.lines()), flush=True)
    sys.exit(0 if report.sound(plan) else 1)


if __name__ == "__main__":
    main()
