"""The page of an audit: what it says, that text is text, and how a browser shows it."""

import html
import html.parser
import pathlib
import re
import shutil
import subprocess

import numpy as np
import pytest
from PIL import Image
from tiny import PLAIN, digits, relu_net, smooth_batch_norm_net, threat_model

from tfgen.privacy import GradientAudit
from tfgen.privacy.audit import page, sentences
from tfgen.privacy.defence import DPSGD, GradientClipping, NoDefence, TopKPruning

HOSTILE = f"<b onmouseover=alert(1)><script>alert(1)</script>{'x' * 120}"
ENTITY = "&ndash;<script>alert(2)</script>"
ARABIC = "\N{ARABIC LETTER HEH}\N{ARABIC LETTER JEEM}"


def audited(model=None, images=None, **changes):
    options = dict(
        threat_model=threat_model(),
        attacks={"short": {**PLAIN, "num_steps": 2}},
        defences=[NoDefence()],
        batch_sizes=[2],
        pool_size=16,
    )
    audit = GradientAudit(model or relu_net(), **{**options, **changes})
    return audit.run(*(images or digits()), report=lambda line: None, verbose=0)


@pytest.fixture(scope="module")
def result():
    """Two attacks with hostile names on four defences."""
    attacks = {name: {**PLAIN, "num_steps": 2} for name in (HOSTILE, ENTITY)}
    defences = [NoDefence(), TopKPruning(0.1), GradientClipping(0.1), DPSGD(1.0, 1.0)]
    return audited(attacks=attacks, defences=defences)


@pytest.fixture(scope="module")
def path(result, tmp_path_factory) -> pathlib.Path:
    return result.save(tmp_path_factory.mktemp("report"))[0]


def text_of(result) -> str:
    return page.render_html(result.to_dict(), result.pictures)


class _Page(html.parser.HTMLParser):
    """Notes what a page would fetch, whether its tags are balanced, and what they carry."""

    VOID = ("meta", "img", "line", "circle", "rect", "path")

    def __init__(self, text):
        super().__init__()
        self.sources, self.open, self.elements = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        self.sources += [v for k, v in attributes if k in ("src", "href", "data")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in self.VOID:
            assert self.open.pop() == tag

    def handle_startendtag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


class TestMarkup:
    def test_one_page_with_everything_inside(self, path):
        text = path.read_text()
        found = _Page(text)
        assert not found.open
        assert len(found.sources) == 4 * 2 * 2 * 4  # defences, attacks, images, columns
        assert all(s.startswith("data:image/png;base64,") for s in found.sources)
        assert "http" not in text

    def test_text_is_text(self, path):
        found = _Page(path.read_text())
        assert not found.all("script")
        assert not [a for _, a in found.elements if any(k.startswith("on") for k in a)]
        assert "&lt;b onmouseover=alert(1)&gt;" in path.read_text()
        assert "&amp;ndash;&lt;script&gt;" in path.read_text()

    @pytest.mark.parametrize("end", ["", "\N{RIGHT-TO-LEFT OVERRIDE}x"])
    def test_names_do_not_turn_the_text_around_them(self, result, end):
        def renamed(row):
            return {**row, "attack": ARABIC + end} if row["attack"] == HOSTILE else row

        found = result.to_dict()
        found["verdict"] = renamed(found["verdict"])
        found["cells"], found["images"] = (
            list(map(renamed, found[name])) for name in ("cells", "images")
        )
        pictures = {
            (*key[:2], ARABIC + end if key[2] == HOSTILE else key[2], key[3]): shown
            for key, shown in result.pictures.items()
        }
        text = page.render_html(found, pictures)
        assert "\N{RIGHT-TO-LEFT OVERRIDE}" not in text
        shown = ARABIC + ("&lt;U+202E&gt;x" if end else "")
        isolate = f"\N{FIRST STRONG ISOLATE}{shown}\N{POP DIRECTIONAL ISOLATE}"
        assert f"strongest attack: {isolate}. " in text
        assert f"<h3>{isolate} on none" in text

    def test_names_of_models_are_text(self, result):
        found = result.to_dict()
        found["audit"] = {**found["audit"], "model": HOSTILE}
        assert not _Page(page.render_html(found, result.pictures)).all("script")

    def test_tables_name_their_rows_and_columns(self, path):
        text = path.read_text()
        found = _Page(text)
        tables = re.findall(r"<table>.*?</table>", text, re.DOTALL)
        assert len(tables) == len(found.all("caption")) == 5
        assert {a.get("scope") for a in found.all("th")} == {"row", "col"}
        for table in tables:
            heads = table.count('scope="col"')
            assert all(
                row.count("data-head=") == heads
                for row in re.findall(r"<tbody>.*?</tbody>", table, re.DOTALL)[0].split("<tr>")[1:]
            )

    def test_pictures_say_what_is_seen(self, path):
        found = _Page(path.read_text())
        texts = [a["alt"] for a in found.all("img")]
        assert all(re.search(r"image \d+ of class \d", text) for text in texts)
        assert sum("client's own" in text for text in texts) == len(texts) / 4
        drawings = found.all("svg")
        assert len(drawings) == 2
        assert all(a["role"] == "img" and a["aria-labelledby"] for a in drawings)
        assert len(found.all("desc")) == 2


class TestSentences:
    def test_the_facts_of_the_audit(self, result):
        text = text_of(result)
        for wanted in (
            "hold the audited images themselves",
            "1,797 images of 8 x 8 x 1",
            "none has a class twice",
            "not stated; it classifies",
            "0, of batches, defences and attacks",
            "tensorflow",
            result.description["created"],
            "Steps",
            "ε at δ = 1e-05",
            *threat_model().describe(batch_norm=False, dropout=False),
        ):
            assert wanted in text, wanted

    def test_batch_norm_is_named_where_there_is_some(self, result):
        assert "atch-norm" not in text_of(result).replace("no batch norm", "")
        assert "moving averages" not in text_of(result)
        other = text_of(audited(smooth_batch_norm_net()))
        assert "2 batch-norm layers" in other
        assert "normalised with moving averages" in other

    def test_classes_that_repeat(self):
        # Two classes for batches of four: unique labels were asked for, and cannot be.
        images, labels = digits()
        two = labels < 2
        found = audited(images=(images[two], labels[two]), batch_sizes=[4])
        assert found.description["unique_labels"]
        assert "some repeat a class" in text_of(found)
        assert "class twice" not in text_of(found)

    def test_how_many_images_a_batch_has(self, result):
        for sizes, words in (([1], "1 image, 1 of"), ([2], "2 images, "), ([1, 4], "1, 4 images")):
            audit = {**result.description, "batch_sizes": sizes}
            assert dict(sentences.facts(audit))["Batches"].startswith(words)

    def test_what_the_verdict_is_about(self, result):
        assert sentences.subject(result.to_dict()).startswith("The bare gradient, without a")
        only = audited(defences=[GradientClipping(1.0)])
        said = sentences.subject(only.to_dict())
        assert said.startswith("The gradient under clipping (max_norm=1); without a defence none")
        assert "The bare gradient, without a defence" not in text_of(only)

    def test_labels(self, result):
        assert re.search(r"% of the labels were restored; a guess gets 20 %", text_of(result))
        given = audited(threat_model=threat_model(labels="known"))
        text = text_of(given)
        assert "The attacker was given the labels." in text
        assert "labels were restored" not in text
        assert "labels restored" not in text

    @pytest.mark.parametrize(
        ("state", "words"),
        [
            (dict(weights=None, epochs=0), "random weights, not trained; it"),
            (dict(weights="a.keras", epochs=0), "weights of a.keras; it"),
            (
                dict(weights=None, epochs=3, num_images=1500, accuracy=0.9),
                "random weights, then trained for 3 epochs on 1,500 images (training",
            ),
        ],
    )
    def test_training(self, result, state, words):
        assert words in sentences.training({**result.description, "training": state})

    def test_confidence_is_never_rounded_up(self):
        assert sentences.confidence(0.9896) == "confidence 98.9 %"
        assert sentences.confidence(1 - 2**-32) == "confidence over 99.9 %"
        assert sentences.confidence(None) == "no confidence: nothing is concluded"

    def test_distances_stand_beside_those_of_the_controls(self, result):
        cell = result.cells()[0]
        distance = cell["gradient_distance"]
        assert distance["originals"] < 1e-4 < distance["reached"]
        text = text_of(result)
        for name in ("reached", "originals", "prior", "unrelated"):
            assert f"{distance[name]:.3g}" in text
        assert cell["batch_norm_distance"] is None

    def test_distances_from_batch_norm_statistics(self):
        found = audited(
            smooth_batch_norm_net(),
            threat_model=threat_model(batch_norm_mode="train", batch_norm_statistics="batch"),
            attacks={"short": {**PLAIN, "num_steps": 2, "batch_norm_weight": 0.1}},
        )
        distance = found.cells()[0]["batch_norm_distance"]
        assert distance["originals"] < 1e-4 < distance["reached"]
        assert "batch-norm statistics that it knew" in text_of(found)

    def test_a_metric_of_the_attackers_own_measures_nothing(self):
        short = {**PLAIN, "num_steps": 2, "gradient_form": "whitened", "late_kernels": 0.5}
        cell = audited(relu_net(), attacks={"short": short}).cells()[0]
        distance = cell["gradient_distance"]
        assert cell["gradient_form"] == "relative"
        assert distance["originals"] < 1e-4 < distance["reached"]


@pytest.fixture(scope="module")
def chromium() -> str:
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if shutil.which(name):
            return name
    pytest.skip("needs a browser: Debian's package chromium")


class TestBrowser:
    """In headless Chromium, without a network."""

    def run(self, chromium, tmp_path, path, *options):
        quiet = ("gpu", "quic", "background-networking", "component-update", "sync")
        return subprocess.run(
            [
                chromium,
                "--headless",
                "--no-sandbox",
                "--no-first-run",
                *(f"--disable-{name}" for name in quiet),
                f"--user-data-dir={tmp_path / 'profile'}",
                "--hide-scrollbars",
                *options,
                path.as_uri(),
            ],
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
        ).stdout

    @pytest.mark.parametrize("width", [1280, 500, 390])
    def test_fits_the_screen(self, chromium, tmp_path, path, width):
        # A script beside the page measures what reaches past its frame, but for drawings, which
        # scroll. (The page itself has none, and no window is as narrow as a phone.)
        probe = tmp_path / "probe.html"
        measure = (
            "<script>onload=()=>{const wide=[...document.querySelectorAll('main *')].filter("
            "e=>!e.closest('.drawing')&&!e.closest('thead')"
            "&&e.getBoundingClientRect().right>innerWidth+1);"
            "parent.document.title='wide:'+wide.map(e=>e.tagName).join()+';'+"
            "(document.documentElement.scrollWidth<=innerWidth)}</script>"
        )
        framed = html.escape(path.read_text().replace("</body>", f"{measure}</body>"))
        style = f"width:{width}px;height:900px;border:0"
        probe.write_text(f'<title></title><iframe style="{style}" srcdoc="{framed}"></iframe>')
        text = self.run(chromium, tmp_path, probe, "--window-size=1400,900", "--dump-dom")
        assert "<title>wide:;true</title>" in text

    def test_draws_the_page(self, chromium, tmp_path, path):
        shot = tmp_path / "shot.png"
        options = ("--window-size=1280,900", f"--screenshot={shot}")
        self.run(chromium, tmp_path, path, *options)
        pixels = np.asarray(Image.open(shot).convert("RGB"))
        assert pixels.shape[:2] == (900, 1280)
        red = np.all(np.abs(pixels.astype(int) - (0xB3, 0x26, 0x1E)) < 8, axis=-1)
        assert np.sum(red[:100]) > 1000  # the frame of the warning

    def test_prints(self, chromium, tmp_path, path):
        printed = tmp_path / "page.pdf"
        self.run(chromium, tmp_path, path, f"--print-to-pdf={printed}")
        assert printed.read_bytes()[:5] == b"%PDF-"
        assert printed.stat().st_size > 20_000


def test_the_template_belongs_to_the_package(root):
    folder = root / "tfgen" / "privacy" / "audit" / "templates"
    assert {p.name for p in folder.iterdir()} == {"report.html", "report.css"}
    assert "tfgen.privacy.audit = templates/*" in (root / "setup.cfg").read_text()
