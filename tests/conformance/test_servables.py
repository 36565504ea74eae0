"""What exporters rely on, asked of every system that can be served."""

import numpy as np
import pytest
import register
import tensorflow as tf
from questions import plain_first
from register import SYSTEMS

from tfgen.export import Subject
from tfgen.serving import PORTABLE, Servable, default_signature, plain_name
from tfgen.systems import registry

NAMES = [name for name in register.able("servable") if "everything" not in name]


@pytest.fixture(scope="module", params=plain_first(NAMES))
def subject(request):
    """One plain instance of each system with two examples a question."""
    model = SYSTEMS[request.param].make()
    model.build()
    return Subject(model, num_examples=2, seed=1)


def test_every_system_of_the_registry_is_here():
    made = {type(system.make()) for system in SYSTEMS.values()}
    assert {row.load() for row in registry.SYSTEMS.values()} <= made


def test_signatures_are_what_exporters_need(subject):
    assert isinstance(subject.model, Servable)
    signatures = subject.keras.signatures
    assert default_signature(signatures) in signatures
    for name, signature in signatures.items():
        assert plain_name(name) == name
        assert set(signature.portable) <= set(PORTABLE)
        assert all(plain_name(key) == key for key in signature.inputs)


def test_examples_fit_and_repeat(subject):
    for signature in subject.keras.signatures.values():
        values, again = (signature.example(3, 5) for _ in range(2))
        for key, spec in signature.inputs.items():
            np.testing.assert_array_equal(values[key], again[key])
            assert spec.is_compatible_with(tf.constant(values[key])), key


# The SavedModel of LSGM answers everything in tests/generative in every run.
@pytest.mark.parametrize("subject", plain_first(NAMES, ["lsgm"]), indirect=True, scope="module")
def test_frozen_answers_are_the_live_ones(subject):
    for name in subject.keras:
        answers = subject.frozen.run(name, subject.question(name))
        assert set(answers) == set(subject.answer(name))
        for key, expected in subject.answer(name).items():
            assert len(answers[key]) == 2
            scale = np.maximum(1.0, np.abs(expected))
            np.testing.assert_array_less(np.abs(np.float64(answers[key]) - expected) / scale, 1e-3)
