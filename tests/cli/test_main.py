import subprocess
import sys
from importlib import metadata

import pytest
import typer

from calrec import __version__
from calrec.cli import main as cli
from calrec.errors import DataError


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    """What a command sets in the environment is taken back; debugging is off."""
    monkeypatch.setenv("TRANSFORMERS_VERBOSITY", "error")
    monkeypatch.setenv("CALREC_DEBUG", "0")


@pytest.fixture
def failing(monkeypatch):
    """Give the command line one command, ``fail``, that raises the error."""

    def make(error):
        app = typer.Typer(callback=cli._options)

        @app.command()
        def fail(count: int = 1) -> None:
            raise error

        monkeypatch.setattr(cli, "app", app)

    return make


def _error_line(capsys):
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("calrec: error: ")
    assert err.count("\n") == 1
    return err


def test_version(capsys):
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"calrec {__version__}\n"


@pytest.mark.parametrize("arguments", [[], ["--help"], ["-h"]])
def test_help(arguments, capsys):
    assert cli.main(arguments) == 0
    assert "Usage: calrec" in capsys.readouterr().out


def test_every_command_has_an_example_in_its_help(capsys):
    def leaves(command, path):
        for name, below in getattr(command, "commands", {}).items():
            yield from leaves(below, [*path, name])
        if not hasattr(command, "commands"):
            yield path

    for path in leaves(typer.main.get_command(cli.app), []):
        assert cli.main([*path, "--help"]) == 0
        assert f"calrec {' '.join(path)} " in capsys.readouterr().out.partition("Example")[2], path


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["fial"], "fial"),
        (["--frob"], "--frob"),
        (["fail", "--count", "many"], "--count"),
        (["fail", "surplus"], "surplus"),
    ],
)
def test_a_usage_mistake_is_one_line(arguments, complaint, capsys, failing):
    failing(None)
    assert cli.main(arguments) == 2
    line = _error_line(capsys)
    assert complaint in line
    assert "--help`" in line


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (DataError("items.csv: line 3:\n  no title"), 2, "calrec: error: items.csv: line 3: no title\n"),
        (
            PermissionError(13, "Permission denied", "/run"),
            2,
            "calrec: error: /run: Permission denied: give another path\n",
        ),
        (
            ZeroDivisionError("division by zero"),
            1,
            "calrec: error: a fault of calrec's own: ZeroDivisionError: division by zero; "
            "CALREC_DEBUG=1 shows the traceback\n",
        ),
    ],
)
def test_a_failure_is_one_line_and_a_code(error, code, line, capsys, failing):
    failing(error)
    assert cli.main(["fail"]) == code
    assert _error_line(capsys) == line


def test_interrupted(failing, capsys):
    failing(KeyboardInterrupt())
    assert cli.main(["fail"]) == 130
    assert _error_line(capsys) == "calrec: error: interrupted; call the same command again to go on\n"


@pytest.mark.parametrize("by", ["option", "environment"])
def test_debugging_shows_the_traceback(by, capsys, failing, monkeypatch):
    failing(DataError("no title"))
    if by == "environment":
        monkeypatch.setenv("CALREC_DEBUG", "1")
    assert cli.main(["--debug", "fail"] if by == "option" else ["fail"]) == 2
    err = capsys.readouterr().err
    assert "Traceback" in err
    assert err.endswith("calrec: error: no title\n")


def test_the_installed_command_and_the_module_are_this():
    (entry,) = metadata.entry_points(group="console_scripts", name="calrec")
    assert entry.load() is cli.run
    done = subprocess.run([sys.executable, "-m", "calrec", "frob"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("calrec: error: No such command 'frob'")


def test_help_imports_nothing_heavy():
    heavy = {"torch", "transformers", "polars", "numpy", "scipy", "pydantic", "rich", "usearch"}
    code = f"""
import contextlib, io, sys
from calrec.cli.main import main
with contextlib.redirect_stdout(io.StringIO()):
    assert main(["--help"]) == 0
print(*sorted({heavy!r} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
