"""The `casemate` command. Thin: it reads settings and arguments, calls, and says how it went.

Expected failures are one sentence on standard error and a status other than 0.
"""

import asyncio
import os
import sys
from collections.abc import Callable
from functools import wraps
from importlib.metadata import version as package_version
from pathlib import Path
from typing import Any, ParamSpec, get_args

import click

from orchestrator.accounts.ports import Role
from orchestrator.settings import Settings, load_settings
from orchestrator.setup.checkout import this_checkout
from orchestrator.setup.environment_file import with_environment_file
from orchestrator.setup.progress import TerminalProgress

P = ParamSpec("P")
ROLES = get_args(Role)
INTERRUPTED = 130
"""What shells say for a program that Ctrl-C ended."""


class PlainFailure(click.ClickException):
    """Printed as it is, on standard error: what happened, then what to do."""

    def show(self, file: Any = None) -> None:
        click.echo(self.message, err=True, file=file)


def plainly(command: Callable[P, None]) -> Callable[P, None]:
    """Turn expected failures into sentences, and an interruption into silence."""

    @wraps(command)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            command(*args, **kwargs)
        except KeyboardInterrupt as error:
            raise SystemExit(INTERRUPTED) from error
        except (click.ClickException, click.Abort):
            raise
        except Exception as error:
            from orchestrator.setup.plain_failures import sentence_of

            sentence = sentence_of(error)
            if sentence is None:
                raise
            raise PlainFailure(sentence) from error

    return guarded


def _settings() -> Settings:
    environment = dict(os.environ)
    file = environment.pop("CASEMATE_ENV_FILE", "") or this_checkout().root / ".env"
    return load_settings(with_environment_file(environment, file=Path(file)))


def _progress() -> TerminalProgress:
    from rich.console import Console

    return TerminalProgress(Console(stderr=True))


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Casemate: Claude Code in the browser, every conversation in a container of its own.

    Settings come from the environment and from the file .env (or the one that CASEMATE_ENV_FILE
    names); docs/operating.md lists them.
    """


@main.command()
@plainly
def up() -> None:
    """Get everything ready, then serve.

    Finds or starts a Docker engine, builds the sandbox image and the web page where they are stale,
    prints a sign-in link for the first admin, and serves until Ctrl-C.
    """
    from orchestrator.setup.up import up

    up(_settings(), checkout=this_checkout(), progress=_progress())


@main.command()
@click.option("--demo", is_flag=True, help="Without a key, answer from the scripted model.")
@plainly
def serve(*, demo: bool) -> None:
    """Serve; everything must be there already."""
    from orchestrator.setup.serving import run

    run(_settings(), demo=demo, progress=_progress(), say=click.echo)


@main.command()
@click.option("--connection", type=int, hidden=True, help="Serve this inherited socket first.")
@click.option("--listen", type=click.Path(path_type=Path), hidden=True, help="Then listen there.")
@plainly
def broker(*, connection: int | None, listen: Path | None) -> None:
    """Run the broker, which alone talks to Docker.

    For a `casemate serve` that runs as another user.

    Listens at CASEMATE_BROKER_SOCKET. Without one, `up` and `serve` start their own.
    """
    from orchestrator.setup.broker import Starter, run_broker

    starter = None
    if connection is not None and listen is not None:
        starter = Starter(connection=connection, listen=listen)
    run_broker(_settings(), starter=starter, say=click.echo)


@main.command()
@click.argument(
    "parts",
    nargs=-1,
    metavar="[engine|gvisor|image|page|page-packages|service|browser|postgres]...",
)
@plainly
def prepare(parts: tuple[str, ...]) -> None:
    """Make what `up` needs, or parts of it.

    Only what is missing or stale is made. Without arguments: engine, image and page. `service` is
    the image of Casemate itself, for docker compose; `postgres` is for tests alone.
    """
    from orchestrator.setup.preparation import PARTS
    from orchestrator.setup.preparation import prepare as prepare_parts

    if unknown := set(parts) - set(PARTS):
        raise click.UsageError(f"There is no part {', '.join(sorted(unknown))}.")
    wanted = [part for part in PARTS if part in (parts or ("engine", "image", "page"))]
    prepare_parts(wanted, settings=_settings(), checkout=this_checkout(), progress=_progress())


@main.group()
def image() -> None:
    """The image that sandboxes are made of."""


@image.command("build")
@click.option(
    "--base", default="auto", show_default=True, metavar="auto|debootstrap|REFERENCE",
    help="auto: Debian from a registry, else from its packages; debootstrap: from its packages.",
)  # fmt: skip
@click.option("--compiler", is_flag=True, help="Add a C compiler and make.")
@click.option(
    "--ca", "extra_ca", multiple=True, metavar="FILE",
    type=click.Path(exists=True, dir_okay=False, resolve_path=True),
    help="A PEM file that sandboxes shall trust; may be given several times.",
)  # fmt: skip
@click.option(
    "--policy", "policies", multiple=True, metavar="FOLDER",
    type=click.Path(exists=True, file_okay=False, resolve_path=True),
    help="A policy package to put in; may be given several times.",
)  # fmt: skip
@click.option(
    "--tool-server", "tool_servers", multiple=True, metavar="FOLDER",
    type=click.Path(exists=True, file_okay=False, resolve_path=True),
    help="A tool server's files to put in; may be given several times.",
)  # fmt: skip
@click.option("--tag", default=None, metavar="NAME", help="Name the image otherwise.")
@plainly
def image_build(
    *,
    base: str,
    compiler: bool,
    extra_ca: tuple[str, ...],
    policies: tuple[str, ...],
    tool_servers: tuple[str, ...],
    tag: str | None,
) -> None:
    """Build the sandbox image now, stale or not.

    `casemate up` repeats these choices whenever it has to build again.
    """
    from orchestrator.setup import preparation, sandbox_image

    settings, progress = _settings(), _progress()
    preparation.prepare_engine(settings=settings, progress=progress)
    choice = sandbox_image.ImageChoice(
        base=base,
        compiler=compiler,
        extra_ca=extra_ca,
        policies=policies,
        tool_servers=tool_servers,
        tag=tag or sandbox_image.DEFAULT_TAG,
    )
    sandbox_image.build_image(choice, environment=os.environ, progress=progress)
    if tag is None:
        sandbox_image.remember_choice(choice, data_dir=settings.server.data_dir)


@main.group()
def users() -> None:
    """The people who may sign in."""


@users.command("add")
@click.argument("name")
@click.option("--role", type=click.Choice(ROLES), default="user", show_default=True)
@click.option("--password", "with_password", is_flag=True, help="Set a password instead.")
@plainly
def users_add(name: str, *, role: Role, with_password: bool) -> None:
    """Add NAME and print a one-time link with which they sign in and choose a password.

    With --password it is asked for, or read from standard input, and no link is made.
    """
    from orchestrator.setup import user_administration as administration

    password = _password() if with_password else None
    said = asyncio.run(administration.add(_settings(), name=name, role=role, password=password))
    click.echo(said)


@users.command("list")
@plainly
def users_list() -> None:
    """Print every user: name, role, state."""
    from orchestrator.setup import user_administration as administration

    for line in asyncio.run(administration.listing(_settings())):
        click.echo(line)


@users.command("disable")
@click.argument("name")
@click.option("--undo", is_flag=True, help="Let them in again.")
@plainly
def users_disable(name: str, *, undo: bool) -> None:
    """Shut NAME out at once: sign-ins end, tokens are void."""
    from orchestrator.setup import user_administration as administration

    asyncio.run(administration.disable(_settings(), name=name, disabled=not undo))
    click.echo(f"{name} is {'enabled' if undo else 'disabled'}.")


@users.command("passwd")
@click.argument("name")
@click.option("--link", is_flag=True, help="Forget the password and print a one-time link.")
@plainly
def users_passwd(name: str, *, link: bool) -> None:
    """Set NAME's password, asked for or read from standard input; all their sign-ins end."""
    from orchestrator.setup import user_administration as administration

    if link:
        click.echo(asyncio.run(administration.link(_settings(), name=name)))
        return
    asyncio.run(administration.set_password(_settings(), name=name, password=_password()))
    click.echo(f"{name} has a new password.")


def _password() -> str:
    if sys.stdin.isatty():
        return str(click.prompt("Password", hide_input=True, confirmation_prompt=True))
    return sys.stdin.readline().rstrip("\r\n")


@main.group()
def audit() -> None:
    """The audit log: who did what."""


@audit.command("verify")
@plainly
def audit_verify() -> None:
    """Prove that the audit log is whole and unchanged; else name the first broken record.

    The status is 1 where it is not.
    """
    from orchestrator.setup import audit_inspection as inspection

    finding = asyncio.run(inspection.verify(_settings()))
    click.echo(inspection.verdict(finding))
    if not finding.is_whole:
        raise SystemExit(1)


@audit.command("list")
@click.option("--action", default=None, metavar="NAME", help="Only these, e.g. user.changed.")
@click.option("--actor", default=None, metavar="NAME", help="Only of this user.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=100, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="For programs: one entry per line.")
@plainly
def audit_list(*, action: str | None, actor: str | None, limit: int, as_json: bool) -> None:
    """Print the newest entries, the latest one last."""
    from orchestrator.setup import audit_inspection as inspection

    entries = asyncio.run(inspection.entries(_settings(), action=action, actor=actor, limit=limit))
    for entry in entries:
        click.echo(inspection.as_json(entry) if as_json else inspection.line(entry))


@main.command("demo-model")
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", default=8090, show_default=True)
@click.option(
    "--script", type=click.Path(exists=True, dir_okay=False, path_type=Path), metavar="FILE",
    help="A script (.toml or .json) instead of the built-in one.",
)  # fmt: skip
@plainly
def demo_model(*, host: str, port: int, script: Path | None) -> None:
    """Serve the scripted model alone.

    It speaks the Messages API and follows a script instead of thinking.
    """
    from orchestrator.setup.demo_model import serve_demo_model

    serve_demo_model(host=host, port=port, script=script, say=click.echo)


@main.command()
@click.option("--json", "as_json", is_flag=True, help="For programs: a list of findings.")
@plainly
def doctor(*, as_json: bool) -> None:
    """Tell what this machine lacks, and what to change.

    The status is 1 where something is bad, which is more than could be better.
    """
    import msgspec

    from orchestrator.setup.doctor import examine
    from orchestrator.setup.finding import readable

    findings = examine(_settings())
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(findings)).decode())
    else:
        click.echo("\n".join(readable(findings)))
    if any(finding.verdict == "bad" for finding in findings):
        raise SystemExit(1)


@main.command()
def version() -> None:
    """Print the version."""
    click.echo(package_version("casemate"))
