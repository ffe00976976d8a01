# Casemate's recipes. `./just` brings uv and just along and lists them; each sets up what it needs.
#
# Everything that is made lands in ignored folders (.venv, .tools, .cache, web/node_modules, web/dist,
# data) and is made again only when what it is made from changed.

set shell := ["sh", "-euc"]
set positional-arguments

export UV_CACHE_DIR := env("UV_CACHE_DIR", justfile_directory() / ".cache/uv")
export npm_config_cache := justfile_directory() / ".cache/npm"
export npm_config_audit := "false"
export npm_config_fund := "false"
export npm_config_update_notifier := "false"
export RUFF_CACHE_DIR := justfile_directory() / ".cache/ruff"
export MYPY_CACHE_DIR := justfile_directory() / ".cache/mypy"

bin := justfile_directory() / ".venv/bin"
environment := sha256(sha256_file("requirements/dev.txt") + sha256_file("pyproject.toml") + justfile_directory())
compile := "uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header --no-annotate"

# List the recipes
[private]
default:
    @just --justfile "{{ justfile() }}" --list --unsorted

# Serve Casemate on http://127.0.0.1:8080, after building whatever is missing or stale
up *ARGS: _environment
    @exec "{{ bin }}/casemate" up "$@"

# Every check and every tier of tests; with ARGS only pytest, with these arguments
test *ARGS: _environment
    #!/bin/sh
    set -eu
    "{{ bin }}/casemate" prepare engine image page service browser postgres
    if [ $# -eq 0 ]; then
        just check
        just _npm test
        # By file, as many at once as there are cores: most wait for processes and containers.
        set -- --numprocesses=auto --maxprocesses=4 --dist=loadfile
    fi
    exec "{{ bin }}/pytest" "$@"

# Lint, format, types, layers, and whether generated files are current
check: _environment _page-packages
    "{{ bin }}/ruff" check .
    "{{ bin }}/ruff" format --check .
    "{{ bin }}/mypy"
    "{{ bin }}/lint-imports" --cache-dir .cache/import-linter
    "{{ bin }}/python" -m orchestrator.setup.generated --check
    @just _npm run types
    @just _npm run lint

# Write the files that are generated from the code: the page's types, the tables in the documentation
generate: _environment
    "{{ bin }}/python" -m orchestrator.setup.generated

# The fast tests, without Docker or a browser
unit *ARGS: _environment
    @"{{ bin }}/casemate" prepare postgres
    @exec "{{ bin }}/pytest" tests/unit tests/architecture "$@"

# The suites that hold fakes and real things to the same promises
contract *ARGS: _environment
    @"{{ bin }}/casemate" prepare engine image postgres
    @exec "{{ bin }}/pytest" tests/contract "$@"

# Real Docker, the real SDK and its CLI
integration *ARGS: _environment
    @"{{ bin }}/casemate" prepare engine image service
    @exec "{{ bin }}/pytest" tests/integration "$@"

# Attacks on a whole Casemate from inside its sandboxes; --gvisor: on gVisor, in an engine of its own
attack *ARGS: _environment
    #!/bin/sh
    set -eu
    "{{ bin }}/casemate" prepare engine image
    if [ "${1-}" != --gvisor ]; then
        exec "{{ bin }}/pytest" tests/attacks "$@"
    fi
    shift
    engine=/run/casemate/gvisor
    trap 'test ! -e $engine/docker.pid || kill "$(cat $engine/docker.pid)"' EXIT
    "{{ bin }}/casemate" prepare gvisor
    export DOCKER_HOST=unix://$engine/docker.sock CASEMATE_ENGINE_RUNTIME=runsc
    "{{ bin }}/pytest" tests/attacks "$@"

# Chromium against a running Casemate
browser *ARGS: _environment
    @"{{ bin }}/casemate" prepare engine image page browser
    @exec "{{ bin }}/pytest" tests/browser "$@"

# Kill and cut everything at random around sessions at work: `./just chaos --minutes 10 --seed 7`
chaos *ARGS: _environment
    @"{{ bin }}/casemate" prepare engine image
    @exec "{{ bin }}/python" -m tests.chaos "$@"

# Build the web page if it is stale
web: _environment
    @exec "{{ bin }}/casemate" prepare page

# Build the sandbox image anew
image *ARGS: _environment
    @exec "{{ bin }}/casemate" image build "$@"

# Build what `docker compose up` needs, where it is stale: the sandbox image and Casemate's own
service: _environment
    @exec "{{ bin }}/casemate" prepare engine image service

# Measure: `./just bench start` prints and writes .bench/start.json; also: neighbours, recovery, asleep
bench NAME *ARGS: _environment
    @"{{ bin }}/casemate" prepare engine image
    @shift; PYTHONPATH="{{ justfile_directory() }}" exec "{{ bin }}/python" "bench/{{ NAME }}.py" "$@"

# Write the locked requirements anew, with the newest versions that fit
lock *ARGS: _environment
    {{ compile }} "$@" pyproject.toml -o requirements/run.txt
    {{ compile }} "$@" pyproject.toml --group pyproject.toml:dev -o requirements/dev.txt
    {{ compile }} "$@" --group pyproject.toml:sandbox -o requirements/sandbox.txt
    {{ compile }} "$@" --group pyproject.toml:tools -o requirements/tools.txt
    cd web && PATH="{{ bin }}:$PATH" npm install --package-lock-only --omit-lockfile-registry-resolved --ignore-scripts

# Remove everything that was built or fetched; the data folder stays
clean:
    rm -rf .venv .tools .cache .bench .artifacts web/node_modules web/dist casemate.egg-info

# The Python environment, exactly as locked
[private]
_environment:
    #!/bin/sh
    set -eu
    current() { [ "$(cat .venv/casemate-environment 2>/dev/null)" = "{{ environment }}" ]; }
    current && exit
    mkdir -p .cache
    exec 9>.cache/environment.lock
    if command -v flock >/dev/null; then flock 9; fi
    current && exit
    echo "Setting up the Python environment ..." >&2
    rm -f .venv/casemate-environment
    # A moved checkout needs a new one: its programs name their interpreter by its path.
    if [ "$(cat .venv/casemate-place 2>/dev/null)" != "{{ justfile_directory() }}" ] ||
        ! .venv/bin/python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
        uv venv --quiet --clear --python '>=3.11' .venv
        echo "{{ justfile_directory() }}" >.venv/casemate-place
    fi
    uv pip sync --quiet --python .venv/bin/python --require-hashes requirements/dev.txt
    # setuptools is locked as well, so that the build of the project itself fetches nothing.
    uv pip install --quiet --python .venv/bin/python --no-deps --no-build-isolation --editable .
    echo "{{ environment }}" >.venv/casemate-environment

[private]
_page-packages: _environment
    @"{{ bin }}/casemate" prepare page-packages

[private]
_npm *ARGS: _page-packages
    @cd web && PATH="{{ bin }}:$PATH" exec npm "$@"
