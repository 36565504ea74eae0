"""Networks taken apart and put together again."""

import keras
import numpy as np
import pytest
import small_networks
from keras import layers

from tfgen.errors import ConfigError
from tfgen.search.hant.network import CutNetwork


@pytest.fixture(scope="module")
def mobile():
    return CutNetwork(small_networks.mobile())


def names(cut):
    return [segment.name for segment in cut.segments]


class TestBoundaries:
    def test_inverted_bottlenecks(self, mobile):
        assert names(mobile) == ["block0_add", "block1_add", "block2_project_bn", "block3_add"]
        assert [s.keeps_shape for s in mobile.segments] == [True, True, False, True]
        shapes = [tuple(s.output.shape[1:]) for s in mobile.segments]
        assert shapes == [(8, 8, 4), (8, 8, 4), (4, 4, 6), (4, 4, 6)]

    def test_two_without_a_shortcut_in_a_row(self):
        cut = CutNetwork(small_networks.mobile(widths=(6, 4, 8, 8)))
        found = ["block0_project_bn", "block1_project_bn", "block2_project_bn", "block3_add"]
        assert names(cut) == found

    def test_residual_blocks_with_their_activation(self):
        assert names(CutNetwork(small_networks.residual())) == ["b0_out", "b1_out", "b2_out"]

    def test_plain_convolutions(self):
        cut = CutNetwork(small_networks.plain())
        assert names(cut) == ["conv1", "conv2", "conv3"]
        assert [tuple(s.output.shape[1:3]) for s in cut.segments] == [(8, 8), (4, 4), (4, 4)]

    def test_nested_models(self):
        teacher = small_networks.nested()
        cut = CutNetwork(teacher)
        assert names(cut) == ["block0_add", "block1_add", "block2_project_bn", "block3_add"]
        x = small_networks.images()
        np.testing.assert_array_equal(cut.network(x), teacher(x))
        assert_assembles(cut)

    def test_a_layer_that_is_called_twice(self):
        relu = layers.ReLU(name="relu")
        x = y = keras.Input((6, 6, 3))
        for k in range(4):
            y = relu(layers.Conv2D(3, 3, padding="same", name=f"c{k}")(y))
        cut = CutNetwork(keras.Model(x, layers.GlobalAveragePooling2D()(y)))
        assert names(cut) == ["relu", "relu_2", "relu_3"]
        x = small_networks.images(2, 6)
        np.testing.assert_allclose(cut.assemble({})(x), cut.network(x), rtol=1e-5, atol=1e-6)

    def test_named(self, mobile):
        cut = CutNetwork(mobile.network, ["block1_add", "stem_act", "block3_add"])
        assert names(cut) == ["block1_add", "block3_add"]
        assert_assembles(cut)

    def test_a_name_that_others_pass_by(self, mobile):
        with pytest.raises(ConfigError) as refused:
            CutNetwork(mobile.network, ["stem_act", "block1_depthwise"])
        assert str(refused.value) == (
            "the network cannot be cut behind 'block1_depthwise', which other tensors pass by; the "
            "nearest cuts are behind 'block0_add' and 'block1_add'"
        )
        with pytest.raises(ConfigError, match="has no layer 'block9'"):
            CutNetwork(mobile.network, ["block9"])

    def test_one_that_cannot_be_cut(self):
        x = y = keras.Input((8, 8, 3))
        for k in range(3):  # of which the input passes by to the end
            y = layers.Conv2D(3, 3, padding="same", name=f"c{k}")(y)
        y = layers.Concatenate(name="all")([x, y])
        y = layers.Dense(2)(layers.GlobalAveragePooling2D()(y))
        with pytest.raises(
            ConfigError, match=r"no layers to replace between any two cuts; name tw.*all"
        ):
            CutNetwork(keras.Model(x, y))

    @pytest.mark.parametrize("inputs", [1, 2])
    def test_one_of_each(self, inputs):
        made = [keras.Input((4, 4, 1)) for _ in range(inputs)]
        y = layers.Add()(made) if inputs == 2 else made[0]
        outputs = [layers.Flatten()(y), layers.GlobalAveragePooling2D()(y)]
        with pytest.raises(ConfigError, match=f"has {inputs} inputs and 2 outputs"):
            CutNetwork(keras.Model(made, outputs))

    def test_not_functional(self):
        class Own(keras.Model):
            pass

        with pytest.raises(ConfigError, match="is a Own; expected a functional"):
            CutNetwork(Own())

    def test_sequential(self):
        parts = [layers.Input((8, 8, 3))]
        parts += [layers.Conv2D(3, 3, activation="relu", name=f"c{k}") for k in range(3)]
        parts += [layers.GlobalAveragePooling2D(), layers.Dense(2)]
        assert names(CutNetwork(keras.Sequential(parts))) == ["c1", "c2"]


def assert_assembles(cut):
    x = small_networks.images()
    np.testing.assert_allclose(cut.assemble({})(x), cut.network(x), rtol=1e-5, atol=1e-6)


class TestParts:
    def test_parts_in_a_row_are_the_whole(self, mobile):
        x = small_networks.images()
        features = mobile.features()(x, training=False)
        assert len(features) == 5
        for number in range(4):
            np.testing.assert_allclose(
                mobile.layer(number)(features[number], training=False),
                features[number + 1],
                rtol=1e-5,
                atol=1e-6,
            )
            found = mobile.tail(number)(features[number + 1], training=False)
            np.testing.assert_allclose(found, mobile.network(x), rtol=1e-5, atol=1e-6)

    def test_the_network_shares_its_weights_with_its_parts_only(self, mobile):
        own = {id(v) for v in mobile.network.variables}
        assert {id(v) for v in mobile.layer(1).variables} <= own
        assert {id(v) for v in mobile.tail(1).variables} <= own
        assert not own & {id(v) for v in mobile.assemble({}).variables}


class TestAssembling:
    @pytest.mark.parametrize("make", ["residual", "plain"])
    def test_all_of_the_teacher(self, make):
        assert_assembles(CutNetwork(getattr(small_networks, make)()))

    def test_copies_of_its_layers(self, mobile):
        """A layer replaced by itself, as a model, changes nothing."""
        made = mobile.assemble({k: mobile.layer(k) for k in range(4)})
        x = small_networks.images()
        np.testing.assert_allclose(made(x), mobile.network(x), rtol=1e-5, atol=1e-6)
        assert "block1_add_block1_add" in {layer.name for layer in made.layers}
        assert not any(isinstance(layer, keras.Model) for layer in made.layers)

    def test_left_out(self, mobile):
        made, x = mobile.assemble({1: None, 3: None}), small_networks.images()
        y = mobile.features()(x, training=False)[1]  # the input of layer 1 is that of layer 2
        y = mobile.tail(3)(mobile.layer(2)(y, training=False), training=False)
        np.testing.assert_allclose(made(x), y, rtol=1e-5, atol=1e-6)
        assert not any(name.startswith("block1") for name in (v.path for v in made.variables))

    def test_it_is_saved_like_any_other(self, mobile, tmp_path):
        made = mobile.assemble({0: mobile.layer(0), 1: None}, name="fast")
        made.save(tmp_path / "fast.keras")
        x = small_networks.images()
        read = keras.models.load_model(tmp_path / "fast.keras")
        np.testing.assert_array_equal(read(x), made(x))
        assert read.name == "fast"

    def test_the_teacher_stays(self, mobile):
        before = [v.numpy().copy() for v in mobile.network.variables]
        made = mobile.assemble({1: mobile.layer(1)})
        for variable in made.variables:
            variable.assign(np.zeros(variable.shape))
        for variable, value in zip(mobile.network.variables, before):
            np.testing.assert_array_equal(variable, value)

    def test_refusals(self, mobile):
        with pytest.raises(ConfigError, match=r"leaving out layer 2 \(block2_project_bn\) turns"):
            mobile.assemble({2: None})
        with pytest.raises(ConfigError, match="what replaces layer 0"):
            mobile.assemble({0: mobile.layer(2)})
        with pytest.raises(ConfigError, match="there is no layer 4; the network has 4"):
            mobile.assemble({4: None})


@pytest.mark.slow
@pytest.mark.parametrize(
    ("make", "count"),
    [("MobileNetV2", 17), ("EfficientNetB0", 16), ("ResNet50", 16), ("VGG16", 12)],
)
def test_networks_of_keras(make, count):
    teacher = getattr(keras.applications, make)(weights=None, input_shape=(64, 64, 3), classes=3)
    cut, x = CutNetwork(teacher), small_networks.images(1, 64)
    assert len(cut.segments) == count
    np.testing.assert_allclose(cut.assemble({})(x), teacher(x), rtol=1e-4, atol=1e-5)
