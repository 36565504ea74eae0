"""The audit as a whole: controls, matching, verdicts, one self-contained page."""

import json

import numpy as np
import pytest
from tiny import PLAIN, digits, relu_net, smooth_batch_norm_net, threat_model

from tfgen.errors import UserError
from tfgen.privacy import GradientAudit
from tfgen.privacy.attack.settings import attack_settings
from tfgen.privacy.audit.gradient_audit import PRIOR_ONLY, UNRELATED
from tfgen.privacy.defence import DPSGD, Aggregation, NoDefence, SignCompression, TopKPruning
from tfgen.privacy.defence.utility import trained_accuracy

STRONG = {**PLAIN, "num_steps": 400}


def audit_of(model=None, **changes):
    options = dict(
        threat_model=threat_model(),
        attacks={"gradinversion": STRONG},
        defences=[NoDefence(), DPSGD(1.0, 1.0)],
        batch_sizes=[2],
        pool_size=64,
    )
    return GradientAudit(model or relu_net(), **{**options, **changes})


@pytest.fixture(scope="module")
def result():
    """Two digits, without a defence and with noise that hides everything."""
    audit = audit_of(defences=[NoDefence(), TopKPruning(0.1), SignCompression(), DPSGD(1.0, 1.0)])
    return audit.run(*digits(), report=lambda line: None, verbose=0)


class TestFindings:
    def cell(self, result, defence):
        (found,) = [c for c in result.cells() if c["defence"].startswith(defence)]
        return found

    def test_an_undefended_gradient_leaks(self, result):
        cell = self.cell(result, "none")
        assert cell["finding"] == "leaks"
        assert cell["psnr_db"] > 30
        assert cell["margin_db"] > 15
        assert cell["iip"] == 1.0
        assert cell["label_accuracy"] == 1.0
        np.testing.assert_allclose(cell["gradient_similarity"], 1.0, rtol=1e-6)
        verdict = result.verdict()
        assert verdict.finding == "leaks"
        assert verdict.confidence > 0.95

    def test_noise_brings_it_to_unrelated_images(self, result):
        cell = self.cell(result, "dp_sgd")
        assert cell["finding"] != "leaks"
        assert cell["margin_db"] < 1
        assert cell["iip"] == 0
        np.testing.assert_allclose(cell["epsilon"], 4.377, atol=1e-3)

    def test_low_psnr_is_not_safe(self, result):
        # Signs: far from the pixels, and yet every image can be told.
        cell = self.cell(result, "sign")
        assert cell["psnr_db"] < self.cell(result, "none")["psnr_db"] - 10
        assert cell["iip"] > 0
        assert cell["label_accuracy"] == 1.0

    def test_labels_survive_pruning(self, result):
        assert self.cell(result, "pruning")["label_accuracy"] == 1.0

    def test_a_failed_attack_is_no_safety(self):
        # Every label is restored, and the images stay noise.
        short = {"short": {**PLAIN, "num_steps": 5, "learning_rate": 1e-6}}
        audit = audit_of(attacks=short, batch_sizes=[4])
        result = audit.run(*digits(), report=lambda line: None, verbose=0)
        bare, noisy = result.cells()
        assert (bare["finding"], bare["leaked"]) == ("leaks", ("labels",))
        assert bare["label_accuracy"] == 1.0
        assert not bare["converged"]
        assert (noisy["finding"], noisy["confidence"]) == ("inconclusive", None)
        assert "showed no images of the bare gradient" in noisy["reason"]
        known = audit_of(
            attacks=short, batch_sizes=[4], threat_model=threat_model(labels="known")
        ).run(*digits(), report=lambda line: None, verbose=0)
        assert known.cells()[0]["finding"] == "inconclusive"
        assert known.verdict().confidence is None

    def test_safety_needs_the_bare_gradient_beside_it(self):
        options = dict(batch_sizes=[8], seed=1)
        beside = audit_of(defences=[NoDefence(), DPSGD(1.0, 5.0)], **options)
        bare, noisy = beside.run(*digits(), report=lambda line: None, verbose=0).cells()
        assert (bare["finding"], bare["leaked"]) == ("leaks", ("images", "labels"))
        assert noisy["finding"] == "no leak found"
        assert 0.9 < noisy["confidence"] <= 1 - 0.5**8
        alone = audit_of(defences=[DPSGD(1.0, 5.0)], **options)
        (cell,) = alone.run(*digits(), report=lambda line: None, verbose=0).cells()
        assert (cell["finding"], cell["confidence"]) == ("inconclusive", None)

    @pytest.mark.parametrize("num_images", [12, 1797])
    def test_one_image_restored_exactly(self, num_images):
        audit = audit_of(defences=[NoDefence()], batch_sizes=[1])
        images, labels = (x[:num_images] for x in digits())
        (cell,) = audit.run(images, labels, report=lambda line: None, verbose=0).cells()
        assert cell["psnr_db"] > 60
        assert (cell["finding"], cell["leaked"]) == ("leaks", ("images",))
        np.testing.assert_allclose(cell["confidence"], 1 - 1 / num_images, atol=0.003)
        assert cell["pool_size"] == min(64, num_images)

    def test_controls_are_there(self, result):
        for pictures in result.pictures.values():
            assert {*pictures.controls} == {PRIOR_ONLY, UNRELATED}
            for images in (pictures.original, pictures.reconstruction, *pictures.controls.values()):
                assert images.shape == (2, 8, 8, 1)
        for row in result.rows:
            assert row["control_psnr_db"] == max(row["prior_psnr_db"], row["unrelated_psnr_db"])
            assert row["prior_psnr_db"] < 14

    def test_pictures_are_in_the_order_of_the_rows(self, result):
        for key, pictures in result.pictures.items():
            rows = [r for r in result.rows if (r["defence"], r["batch"]) == (key[1], key[3])]
            error = np.mean((pictures.original - pictures.reconstruction) ** 2, axis=(1, 2, 3))
            np.testing.assert_allclose(
                [r["psnr_db"] for r in rows], np.minimum(120, -10 * np.log10(error)), rtol=1e-3
            )


class TestFiles:
    def test_json(self, result, tmp_path):
        result.save(tmp_path)
        found = json.loads((tmp_path / "audit.json").read_text())
        assert found["verdict"]["finding"] == "leaks"
        assert found["audit"]["threat_model"] == threat_model().get_config()
        assert len(found["cells"]) == 4
        assert len(found["images"]) == 8
        assert 0.1 < found["peak_memory_gib"] < 100
        assert all(0 < cell["ms_per_step"] < 1e3 * cell["seconds"] for cell in found["cells"])
        assert {"psnr_db", "ssim", "rank", "rdlv", "feature_distance"} <= {*found["images"][0]}
        with np.load(tmp_path / "reconstructions.npz") as arrays:
            assert all(arrays[name].dtype == np.uint8 for name in arrays.files)
            assert len(arrays.files) == 8


class TestProtocol:
    def test_batches_depend_on_nothing_drawn_before(self):
        audit, (images, labels) = audit_of(), digits()
        first = audit.draw(images, labels, 4, 1)
        audit.draw(images, labels, 8, 0)
        again = audit.draw(images, labels, 4, 1)
        np.testing.assert_array_equal(first.indices, again.indices)
        assert np.any(first.indices != audit.draw(images, labels, 4, 0).indices)
        assert len(np.unique(first.labels)) == 4
        repeated = audit.draw(images, labels, 30, 0)
        assert len(repeated.labels) == 30

    def test_aggregation_attacks_the_larger_batch(self):
        audit = audit_of(
            attacks={"short": {**PLAIN, "num_steps": 2}}, defences=[Aggregation(2)], batch_sizes=[2]
        )
        result = audit.run(*digits(), report=lambda line: None, verbose=0)
        (cell,) = result.cells()
        assert (cell["batch_size"], cell["effective_batch_size"], cell["num_images"]) == (2, 4, 4)

    def test_an_interrupted_audit_goes_on(self, tmp_path):
        options = dict(attacks={"short": {**PLAIN, "num_steps": 3}}, defences=[NoDefence()])
        lines = []
        first = audit_of(**options).run(*digits(), workdir=tmp_path, report=lines.append, verbose=0)
        assert len(lines) == 1
        assert len(list(tmp_path.iterdir())) == 2  # the attack and its control
        again = audit_of(**options).run(*digits(), workdir=tmp_path, report=lines.append, verbose=0)
        for a, b in zip(first.rows, again.rows, strict=True):
            assert a["psnr_db"] == b["psnr_db"]

    def test_batch_norm_and_unknown_batch_size(self):
        audit = audit_of(
            smooth_batch_norm_net(),
            threat_model=threat_model(
                batch_norm_mode="train", batch_norm_statistics="batch", batch_size="unknown"
            ),
            attacks={"short": {**PLAIN, "num_steps": 2}},
            defences=[NoDefence()],
        )
        (cell,) = audit.run(*digits(), report=lambda line: None, verbose=0).cells()
        assert 0 <= cell["label_accuracy"] <= 1

    def test_utility(self):
        images, labels = digits()
        audit = audit_of()
        options = dict(batch_size=16, num_steps=60, learning_rate=0.2)
        splits = images[:1200], labels[:1200], images[1200:], labels[1200:]
        plain = trained_accuracy(audit.network, NoDefence(), *splits, **options)
        noisy = trained_accuracy(audit.network, DPSGD(1.0, 20.0), *splits, **options)
        assert plain > 0.6
        assert noisy < plain - 0.2


class TestMistakes:
    def test_settings(self):
        with pytest.raises(UserError, match="attack preset is 'dgl'"):
            attack_settings({"preset": "dgl"})
        with pytest.raises(UserError, match="no setting"):
            audit_of(attacks={"x": {"steps": 3}})
        with pytest.raises(UserError, match="at least one attack"):
            audit_of(attacks={})

    def test_labels_in_any_form(self):
        images, labels = digits()
        for form in (labels[:, None], np.eye(10)[labels]):
            np.testing.assert_array_equal(audit_of().check(images, form)[1], labels)

    def test_images(self):
        images, labels = digits()
        audit = audit_of()
        with pytest.raises(UserError, match=r"expected \[B, "):
            audit.run(images[:, :4], labels)
        with pytest.raises(UserError, match=r"from 0 to 2; expected \[0, 1\]"):
            audit.run(images * 2, labels)
        with pytest.raises(UserError, match="expected 1797 integers, one for each image"):
            audit.run(images, labels[:-1])
        with pytest.raises(UserError, match="outside 0"):
            audit.run(images, labels + 5)
        with pytest.raises(UserError, match="too few"):
            audit.run(images[:3], labels[:3])
