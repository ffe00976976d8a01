"""`./just chaos`: a chaos run. Its exit status is 1 where something was violated."""

import argparse
import asyncio
import random
import sys
from pathlib import Path

import msgspec

from tests.chaos.run import Plan, run

KEPT = Path(".chaos")


def main() -> int:
    parser = argparse.ArgumentParser(prog="./just chaos", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0, help="how long faults strike")
    parser.add_argument("--seconds", type=float, help="the same, more precisely")
    parser.add_argument("--seed", type=int, default=random.randrange(1_000_000))
    parser.add_argument("--sessions", type=int, default=5)
    given = parser.parse_args()
    plan = Plan(
        seed=given.seed, seconds=given.seconds or given.minutes * 60, sessions=given.sessions
    )
    sys.stdout.write(f"Chaos with seed {plan.seed} for {plan.seconds:.0f} s ...\n")
    sys.stdout.flush()
    report = asyncio.run(run(plan))
    sys.stdout.write(f"{report.text()}\n")
    KEPT.mkdir(exist_ok=True)
    (KEPT / f"{plan.seed}.log").write_text(report.log)
    kept = msgspec.structs.replace(report, log="")
    (KEPT / f"{plan.seed}.json").write_bytes(msgspec.json.format(msgspec.json.encode(kept)))
    return 1 if report.violations else 0


if __name__ == "__main__":
    sys.exit(main())
