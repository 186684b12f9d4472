import subprocess
import sys
from importlib.resources import files

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
