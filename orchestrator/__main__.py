"""`python -m orchestrator`: the `casemate` command."""

from orchestrator.cli import main

if __name__ == "__main__":
    main()
