"""The ``calrec`` command: its subcommands, and what every failure looks like from outside."""

from __future__ import annotations

import errno
import os
import sys
import traceback
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from calrec import __version__
from calrec.cli import data
from calrec.cli.ablate import ablate
from calrec.cli.compare import compare
from calrec.cli.evaluate import evaluate
from calrec.cli.plan import plan
from calrec.cli.push import push
from calrec.cli.quickstart import quickstart
from calrec.cli.recommend import recommend
from calrec.cli.report import report
from calrec.cli.search import search
from calrec.cli.train import train
from calrec.cli.tune import tune
from calrec.cli.verify import verify
from calrec.errors import CalrecError

# What is wrong with a path that the user gave.
_OF_A_PATH = (
    *(errno.EACCES, errno.EPERM, errno.EROFS, errno.EISDIR, errno.ENOTDIR, errno.EEXIST),
    *(errno.ENAMETOOLONG, errno.ELOOP),
)
DONE, FAULT, MISTAKE, INTERRUPTED = 0, 1, 2, 130

# typer ships a click of its own in newer releases, and this is the one of its error classes that it names everywhere.
UsageError: Any = typer.BadParameter.__base__

app = typer.Typer(
    name="calrec",
    help="Sequential recommendation with generative language models (the CALRec paper).",
    epilog="Example: calrec quickstart",
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode=None,
)
app.add_typer(data.app, name="data")
for command in (plan, train, tune, search, evaluate, compare, ablate, verify, report, recommend, push, quickstart):
    app.command()(command)


@app.callback(invoke_without_command=True)
def _options(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show tracebacks and libraries' warnings; so does CALREC_DEBUG=1.")
    ] = False,
) -> None:
    if version:
        typer.echo(f"calrec {__version__}")
        raise typer.Exit
    if debug:
        os.environ["CALREC_DEBUG"] = "1"
    if not _debugging():
        os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: without the program's name; those of the process by default.

    Returns:
        The exit code: 0 done, 1 a fault of calrec's own, 2 a mistake of the user's, 130 interrupted. A failure prints
        one line on stderr; ``CALREC_DEBUG=1`` or ``--debug`` prints the traceback before it.
    """
    try:
        code = typer.main.get_command(app).main(arguments, prog_name="calrec", standalone_mode=False)
        # Newer releases of typer turn an interrupt into this code, and say nothing.
        if code == INTERRUPTED:
            raise KeyboardInterrupt
    except UsageError as error:
        path = error.ctx.command_path if error.ctx else "calrec"
        return _fail(f"{error.format_message().rstrip('.')}; see `{path} --help`", MISTAKE)
    except CalrecError as error:
        return _fail(str(error), MISTAKE)
    except (KeyboardInterrupt, typer.Abort):
        return _fail("interrupted; call the same command again to go on", INTERRUPTED)
    except Exception as error:
        if isinstance(error, OSError) and error.errno in _OF_A_PATH and error.filename is not None:
            return _fail(f"{error.filename}: {error.strerror}: give another path", MISTAKE)
        # Libraries raise it as errors of their own, with the system's words in them.
        if os.strerror(errno.ENOSPC) in str(error):
            return _fail(f"{error}: make room there, and call the same command again", MISTAKE)
        hint = "" if _debugging() else "; CALREC_DEBUG=1 shows the traceback"
        return _fail(f"a fault of calrec's own: {type(error).__name__}: {error}{hint}", FAULT)
    return code if isinstance(code, int) else DONE


def run() -> None:
    """The entry point of the installed command."""
    sys.exit(main())


def _fail(message: str, code: int) -> int:
    if _debugging():
        traceback.print_exc()
    typer.echo(f"calrec: error: {' '.join(message.split())}", err=True)
    return code


def _debugging() -> bool:
    return os.environ.get("CALREC_DEBUG", "0") not in ("", "0")
