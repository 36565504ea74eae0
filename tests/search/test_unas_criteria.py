"""Criteria: forms and ramps in closed form, surrogates against ridge regression, counts against
the networks themselves."""

import json

import numpy as np
import pytest
import tensorflow as tf

from tfgen.errors import ConfigError, UserError
from tfgen.search.latency import Entry, LatencyTable
from tfgen.search.unas import ArchitectureDistribution, Criterion
from tfgen.search.unas.block_supernet import BlockSupernet, block_groups
from tfgen.search.unas.cell_supernet import CellSupernet, cell_groups
from tfgen.search.unas.latency import BlockSpace, CellSpace
from tfgen.search.unas.measures import (
    AdditiveMeasure,
    TableMeasure,
    count_of,
    read_measure,
)
from tfgen.search.unas.networks import num_macs, num_parameters
from tfgen.search.unas.surrogates import OnlineSurrogate, fit_linear_surrogate

GROUPS = {"a": (2, 3), "b": (1, 2)}
COST = AdditiveMeasure({"a": [[5.0, 2.0, 1.0], [4.0, 2.0, 0.5]], "b": [[0.0, 3.0]]}, constant=1.0)


def drawn(num, seed=0):
    distribution = ArchitectureDistribution(GROUPS)
    distribution.build()
    return distribution, distribution.sample(num, (seed, 1)).discrete


class TestForms:
    """Penalties by hand."""

    @pytest.mark.parametrize(
        ("form", "expected"),
        [
            ("linear", [0.5, 2.0]),
            ("hinge", [0.0, 1.0]),
            ("absolute", [0.25, 0.5]),
            ("log_ratio", [0.5 * np.log(0.5), 0.5 * np.log(2.0)]),
            ("lagrangian", [0.0, 0.0]),
        ],
    )
    def test_penalty(self, form, expected):
        criterion = Criterion(COST, GROUPS, 2.0, form, coefficient=0.5)
        criterion.build()
        found = criterion.penalty(tf.constant([1.0, 4.0]), 7)
        np.testing.assert_allclose(found, expected, rtol=1e-6)

    def test_ramp(self):
        criterion = Criterion(COST, GROUPS, 2.0, ramp_steps=30_000)
        found = [float(criterion.weight(step)) for step in (0, 15_000, 30_000, 60_000)]
        np.testing.assert_allclose(found, [0.0, 0.05, 0.1, 0.1], rtol=1e-6)

    def test_multiplier_rises_above_the_target_and_falls_to_zero_below(self):
        criterion = Criterion(COST, GROUPS, 2.0, "lagrangian", multiplier_rate=0.1, online=False)
        criterion.build()
        found = []
        for value in (4.0, 4.0, 1.0, 1.0, 1.0, 1.0, 1.0):
            for variable, new in criterion.updates(None, tf.constant([value])):
                variable.assign(new)
            found.append(float(criterion.multiplier))
        np.testing.assert_allclose(found, [0.1, 0.2, 0.15, 0.1, 0.05, 0.0, 0.0], atol=1e-6)

    def test_logarithm_of_a_surrogate_that_predicts_nothing_is_finite(self):
        criterion = Criterion(COST, GROUPS, 2.0, "log_ratio")
        assert np.isfinite(criterion.penalty(tf.constant([-1.0, 0.0]), 0)).all()


class TestTargets:
    """What cannot be reached is said before the search."""

    def test_of_a_table_exactly(self):
        distribution, _ = drawn(1)
        with pytest.raises(UserError, match=r"latency of 2: the smallest is 2\.5"):
            Criterion(COST, GROUPS, 2.0, name="latency").prepare(distribution)
        assert Criterion(COST, GROUPS, 2.5, num_fitted=50).prepare(distribution)["smallest"] == 2.5

    def test_of_a_black_box_by_what_was_found(self):
        distribution, _ = drawn(1)
        with pytest.raises(UserError, match=r"that was found is 2\.5"):
            Criterion(lambda a: COST(a), GROUPS, 2.0, num_fitted=60).prepare(distribution)

    def test_measurements_that_are_none(self):
        distribution, _ = drawn(1)
        with pytest.raises(UserError, match="5 of 5 measurements are not finite"):
            Criterion(lambda a: np.nan, GROUPS, 2.0, num_fitted=5).prepare(distribution)

    def test_what_does_not_fit(self):
        with pytest.raises(ConfigError, match="has no target"):
            Criterion(COST, GROUPS)
        with pytest.raises(ConfigError, match="form of ms is 'square'"):
            Criterion(COST, GROUPS, 1.0, "square", name="ms")


class TestOnlineSurrogate:
    """Against the regression of everything at once."""

    def test_equals_ridge_in_any_batches(self):
        _, architectures = drawn(40)
        values = np.random.default_rng(0).normal(size=40)
        rows = {key: value.numpy() for key, value in architectures.items()}
        expected = fit_linear_surrogate(rows, values)
        surrogate = OnlineSurrogate(GROUPS)
        for part in (slice(0, 1), slice(1, 20), slice(20, 40)):
            updates = surrogate.updates(
                {k: v[part] for k, v in architectures.items()}, values[part]
            )
            for variable, value in updates:
                variable.assign(value)
        np.testing.assert_allclose(
            surrogate(architectures), expected(architectures), rtol=1e-5, atol=1e-6
        )
        again = OnlineSurrogate(GROUPS)
        again.fit(rows, values)
        np.testing.assert_allclose(again.coefficients, surrogate.coefficients, atol=1e-12)

    def test_with_memory_it_follows_a_slower_device(self):
        _, architectures = drawn(200)
        values = COST.tensor(architectures)
        errors = []
        for memory in (1.0, 0.95):
            surrogate = OnlineSurrogate(GROUPS, memory=memory)
            for factor in (1.0, 2.0):
                for k in range(0, 200, 4):
                    rows = {key: v[k : k + 4] for key, v in architectures.items()}
                    for variable, value in surrogate.updates(rows, factor * values[k : k + 4]):
                        variable.assign(value)
            errors.append(float(tf.reduce_mean(tf.abs(surrogate(architectures) - 2.0 * values))))
        assert errors[1] < 0.2 * errors[0]

    def test_additive_latency_with_noise(self):
        """The space of 15 blocks of 7 and 6 of 6: mean error near the noise of 1 %."""
        groups = {"same": (15, 7), "change": (6, 6)}
        rng = np.random.default_rng(0)
        tables = {key: rng.uniform(0.05, 1.5, shape) for key, shape in groups.items()}
        distribution = ArchitectureDistribution(groups)
        distribution.build()
        latency = AdditiveMeasure(tables, constant=3.0)

        def measure(architecture):
            return latency(architecture) * rng.normal(1.0, 0.01)

        criterion = Criterion(measure, groups, 100.0, num_fitted=4000)
        found = criterion.prepare(distribution)
        assert found["error"] / found["mean"] < 0.9e-2


class TestMeasures:
    """What adds up, and tables."""

    @pytest.mark.parametrize(
        "supernet",
        [
            lambda: CellSupernet((8, 8, 3), 3, num_channels=2, num_cells=3, num_operations=4),
            pytest.param(lambda: BlockSupernet((32, 32, 3), 3, width=0.05), marks=pytest.mark.slow),
        ],
        ids=["cells", "blocks"],
    )
    def test_counts_are_those_of_the_networks(self, supernet):
        supernet = supernet()
        distribution = ArchitectureDistribution(supernet.groups)
        distribution.build()
        drawn = distribution.sample(1, (5, 6)).discrete
        choices = {key: value.numpy()[0].argmax(axis=1) for key, value in drawn.items()}
        network = supernet.extract(supernet.genotype(choices))
        # Of cells whose edges all start at the first input, many are in no network.
        fewer = {key: value * (not key.endswith("input")) for key, value in choices.items()}
        smaller = supernet.extract(supernet.genotype(fewer))
        for what, count in (("parameters", num_parameters), ("macs", num_macs)):
            measure = count_of(supernet, what)
            assert measure(choices) == count(network)
            assert measure(fewer) == count(smaller)
            assert float(measure.tensor(drawn)[0]) == pytest.approx(measure(choices), rel=1e-6)

    @pytest.mark.parametrize(
        "space",
        [lambda: CellSpace((8, 8, 3), 3, 2, 3), lambda: BlockSpace((32, 32, 3), 3, 0.05)],
        ids=["cells", "blocks"],
    )
    def test_latency_is_that_of_the_table(self, space):
        space, rng = space(), np.random.default_rng(0)
        entries = {block.key: Entry(rng.uniform(1, 2)) for block in space.blocks}
        entries["nothing"] = Entry(0.0)
        table = LatencyTable({}, entries)
        groups = cell_groups() if isinstance(space, CellSpace) else block_groups()
        drawn = ArchitectureDistribution(groups).sample(1, (1, 2)).discrete
        choices = {key: value.numpy()[0].argmax(axis=1) for key, value in drawn.items()}
        found = space.latency(table)
        expected = float(found.tensor(drawn)[0])
        assert found(choices) == pytest.approx(expected, rel=1e-6)
        assert found.smallest() < expected

    def test_bytes_and_units(self):
        assert COST.times(0.5)({"a": [0, 1], "b": [1]}) == 5.5

    def test_smallest_is_the_least_of_all(self):
        edges = AdditiveMeasure(edges={"n/0": [[3.0, 2.0], [4.0, 7.0]]}, constant=1.0)
        assert edges.smallest() == 5.0
        assert edges({"n/0/input": [0, 1], "n/0/operation": [1, 0]}) == 7.0

    def test_table_looks_up_and_ranks(self):
        values = np.arange(18.0).reshape(3, 3, 2)
        table = TableMeasure(GROUPS, values)
        _, architectures = drawn(6)
        chosen = {key: value.numpy().argmax(axis=-1) for key, value in architectures.items()}
        found = [table({key: v[k] for key, v in chosen.items()}) for k in range(6)]
        np.testing.assert_allclose(table.tensor(architectures), found)
        assert table.share_below({"a": [0, 1], "b": [1]}) == 3 / 18

    def test_from_files(self, tmp_path):
        path = tmp_path / "latency.json"
        path.write_text(json.dumps(COST.get_config()))
        assert read_measure(path)({"a": [0, 0], "b": [1]}) == COST({"a": [0, 0], "b": [1]})
        for text in ('{"groups": {"a": [1, 2]}, "values": [1]}', '{"ms": 3}'):
            path.write_text(text)
            with pytest.raises(ConfigError):
                read_measure(path)
        with pytest.raises(ConfigError):
            read_measure(tmp_path / "none.json")
        with pytest.raises(ConfigError, match="not finite"):
            AdditiveMeasure({"a": [[np.nan, 1.0]]})
