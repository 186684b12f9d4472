import re
import subprocess
import sys
from importlib.resources import files
from itertools import chain
from pathlib import Path

import pytest

import calrec


def test_importing_calrec_loads_nothing_heavy():
    code = "import sys, calrec; print(*sorted({'torch', 'transformers', 'polars', 'numpy'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="nothing_of_this_name"):
        calrec.nothing_of_this_name  # noqa: B018


def test_it_is_typed():
    assert files(calrec).joinpath("py.typed").is_file()


def test_the_lowest_versions_are_those_that_are_tested():
    tomllib = pytest.importorskip("tomllib")  # Python 3.10 has none
    root = Path(__file__).parents[1]
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    extras = (project["optional-dependencies"][name] for name in ("ann", "peft", "plot", "track"))
    declared = dict(re.match(r"([\w-]+)>=([\d.]+)", line).groups() for line in chain(project["dependencies"], *extras))
    pinned = dict(
        re.findall(r"^([\w-]+)==([\d.]+)$", (root / "constraints-lowest.txt").read_text(), flags=re.MULTILINE)
    )
    assert declared.keys() == pinned.keys()
    assert {name for name in pinned if not f"{pinned[name]}.".startswith(f"{declared[name]}.")} == {"torch"}
