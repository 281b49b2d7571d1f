"""Judge a cloud with unmodified Tempest: `make tempest SUITE=identity [TESTS=regex] [WORKERS=2]`.

Runs in Starling's environment; Tempest has one of its own, given by --venv. A cloud named by OS_*
variables is judged where it runs, otherwise a private one is started for the length of the run. Exit code
0: nothing failed but what left_out.toml lists, and all of that still fails.
"""

import argparse
import os
import subprocess
import sys
import time
from collections import Counter
from contextlib import nullcontext
from pathlib import Path
from typing import Final

import msgspec

from tools.tempest.client import Client
from tools.tempest.cloud import ROOT, Cloud, CloudError, given, private
from tools.tempest.config import read_cloud, write_config
from tools.tempest.prepare import prepare
from tools.tempest.suites import SUITES, pattern
from tools.tempest.verdict import Result, Verdict, judge, load_left_out

TEST_MAX_S: Final = 300
RUN_MAX_S: Final = 3 * 3600
CAUSE_LENGTH_MAX: Final = 300
RESULTS: Final = Path(__file__).with_name("results.py")


def main() -> int:
    options = _options()
    folder: Path = options.folder.absolute()
    (folder / "locks").mkdir(parents=True, exist_ok=True)
    try:
        cloud = given(dict(os.environ))
        with nullcontext(cloud) if cloud else private(folder / "cloud.log") as judged:
            results = _run(judged, options, folder)
    except CloudError as error:
        print(f"make tempest: {error}", file=sys.stderr)
        return 2
    verdict = judge(results, load_left_out())
    _report(verdict, folder)
    return 0 if verdict.good else 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make tempest")
    parser.add_argument("--suite", choices=sorted(SUITES), required=True)
    parser.add_argument("--tests", default="", help="only tests whose name this regular expression finds")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument(
        "--venv", type=Path, default=ROOT / ".venv-tempest", help="where Tempest is installed"
    )
    parser.add_argument("--folder", type=Path, default=ROOT / ".tempest", help="what a run leaves behind")
    return parser.parse_args()


def _run(cloud: Cloud, options: argparse.Namespace, folder: Path) -> list[Result]:
    client = Client(cloud)
    config = folder / "tempest.conf"
    write_config(config, read_cloud(client, prepare(client), folder))
    python = options.venv.absolute() / "bin" / "python"
    place = subprocess.run(
        [python, "-c", "import tempest; print(tempest.__path__[0])"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()
    (folder / ".stestr.conf").write_text(
        f"[DEFAULT]\ntest_path={place}/test_discover\ntop_dir={place}/..\ngroup_regex=([^\\.]*\\.)*\n"
    )
    environment = {**os.environ, "TEMPEST_CONFIG": str(config), "OS_TEST_TIMEOUT": str(TEST_MAX_S)}
    stestr = [str(python), "-m", "stestr.cli"]
    wish = pattern(options.suite, options.tests)
    began = time.monotonic()
    with (folder / "run.log").open("wb") as log:
        command = [*stestr, "run", "--concurrency", str(options.workers), wish]
        subprocess.run(
            command, cwd=folder, env=environment, stdout=log, stderr=log, check=False, timeout=RUN_MAX_S
        )
    stream = subprocess.run(
        [*stestr, "last", "--subunit"], cwd=folder, env=environment, capture_output=True, check=False
    )
    lines = subprocess.run([python, RESULTS], input=stream.stdout, capture_output=True, check=True).stdout
    (folder / "results.jsonl").write_bytes(lines)
    print(f"{options.suite}: ran for {time.monotonic() - began:.0f} s; everything said is in {folder}")
    return [msgspec.json.decode(line, type=Result) for line in lines.splitlines()]


def _report(verdict: Verdict, folder: Path) -> None:
    reasons = Counter(result.cause for result in verdict.skipped)
    for reason, count in reasons.most_common():
        print(f"skipped {count:4} {reason}")
    (folder / "skipped.txt").write_text("".join(f"{r.name}\t{r.cause}\n" for r in verdict.skipped))
    for result, reason in verdict.known:
        print(f"left out {result.name}: {reason}")
    for name in verdict.mended:
        print(f"MENDED {name}: take it out of left_out.toml")
    by_cause: dict[str, list[str]] = {}
    for result in verdict.unexpected:
        by_cause.setdefault(result.cause[:CAUSE_LENGTH_MAX], []).append(result.name)
    for cause, names in by_cause.items():
        print("\n".join([f"FAILED {cause}", *(f"    {name}" for name in names)]))
    print(
        f"passed {verdict.passed}, skipped {len(verdict.skipped)}, left out {len(verdict.known)},"
        f" failed {len(verdict.unexpected)}, mended {len(verdict.mended)}"
    )
    if not verdict.passed:
        print("nothing passed: does the name fit any test?")


if __name__ == "__main__":
    sys.exit(main())
