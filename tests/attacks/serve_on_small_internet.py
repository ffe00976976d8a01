"""`casemate serve`, with an egress proxy that reaches a small internet on the loopback.

Argument: the file that says which names lead where. A script, because production has no switch for
this: what the egress proxy reaches is an argument of the composition root alone.
"""

import os
import sys
from pathlib import Path

from orchestrator.settings import load_settings
from orchestrator.setup.progress import TerminalProgress
from orchestrator.setup.serving import run
from orchestrator.testing.loopback_network import LoopbackNetwork

if __name__ == "__main__":
    from rich.console import Console

    environment = {n: v for n, v in os.environ.items() if n != "CASEMATE_ENV_FILE"}
    run(
        load_settings(environment),
        demo=True,
        progress=TerminalProgress(Console(stderr=True)),
        say=print,
        network=LoopbackNetwork.read(Path(sys.argv[1])),
    )
