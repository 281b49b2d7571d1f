"""``python -m bench [name …]``: runs the benchmarks and prints one line of JSON each.

Exit code 1 when a figure is outside its limit.
"""

import importlib
import sys
from typing import Final

from bench.result import Result, progress

BENCHES: Final = ("turn", "transition", "boots", "idle", "real_guest")


def main(names: list[str]) -> int:
    """Run these, or all."""
    unknown = set(names) - set(BENCHES)
    if unknown:
        progress(f"no benchmark {', '.join(sorted(unknown))}; there are {', '.join(BENCHES)}")
        return 2
    held = True
    for name in names or BENCHES:
        result: Result = importlib.import_module(f"bench.{name}").run()
        print(result.line(), flush=True)
        held = held and result.holds
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
