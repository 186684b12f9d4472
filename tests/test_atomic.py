"""What several processes may not do at once."""

import pytest

from calrec.atomic import sole_writer
from calrec.errors import ConfigError


def test_a_folder_is_held_by_one_process(tmp_path):
    with sole_writer(tmp_path), pytest.raises(ConfigError, match="in use by another process"), sole_writer(tmp_path):
        pass
    with sole_writer(tmp_path):
        pass
