"""Configurations of any content: completed, or refused in one sentence."""

import json

from fuzzing import budgets, either, json_value, try_many, with_values

from tfgen.runs.config import complete
from tfgen.runs.workdir import Workdir


@budgets
def test_configurations(tmp_path, budget):
    workdir = Workdir(tmp_path)
    given = {"model": {"name": "nvae", "num_channels": 8}, "data": {"name": "digits"}}
    whole = complete(given)

    def attempt(config):
        workdir.config_path.write_text(json.dumps(config))
        found = complete(workdir.read_config())
        assert workdir.compare(found) is not None

    inputs = either(with_values(whole), with_values(given), json_value)
    outcomes = try_many(inputs, attempt, budget)
    assert outcomes["read"]
    assert outcomes["refused"] > budget / 5
