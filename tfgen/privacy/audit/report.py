"""The audit as one HTML file: images inside, no script, nothing fetched."""

import base64
import html
import io
from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import Image

from tfgen.privacy.audit.pictures import Pictures, as_bytes
from tfgen.privacy.audit.verdict import INCONCLUSIVE, LEAKS, NOT_FOUND, worst_by_defence

_COLOURS = {LEAKS: "#b3261e", NOT_FOUND: "#1b7a3d", INCONCLUSIVE: "#946200"}
_THUMBNAIL = 96  # pixels of a picture's longer side on the page, at least
_MOST_BATCHES = 3  # of each cell that are shown; all of them are in the numbers


def render_html(found: Mapping[str, Any], pictures: Mapping[tuple, Pictures]) -> str:
    """The page of an audit, complete in itself.

    Args:
        found: what `audit.json` says, see `AuditResult.to_dict`.
        pictures: by batch size, defence, attack and number of the batch.
    """
    sections = (
        _header(found),
        _threat_model(found["audit"]),
        _defences(found),
        _chart(found),
        _grid(found),
        _gallery(found, pictures),
        _explanations(found),
    )
    body = "\n".join(sections)
    return (
        "<!doctype html>\n<html lang='en'><head><meta charset='utf-8'>"
        "<meta name='viewport' content='width=device-width, initial-scale=1'>"
        f"<title>Gradient leakage of {_text(found['audit']['model'])}</title>"
        f"<style>{_STYLE}</style></head><body><main>\n{body}\n</main></body></html>\n"
    )


def _header(found):
    verdict, described, cells = found["verdict"], found["audit"], found["cells"]
    labels = max(c["label_accuracy"] for c in cells if c["defence"] == cells[0]["defence"])
    shape = " &times; ".join(map(str, described["image_shape"]))
    return (
        f"<h1>What one gradient of <em>{_text(described['model'])}</em> shows</h1>"
        f"<p class='facts'>{described['parameters']:,} shared parameters, "
        f"{described['batch_norm_layers']} batch-norm layers, images {shape}, "
        f"{described['num_classes']} classes</p>"
        f"<div class='verdict' style='border-color:{_COLOURS[verdict['finding']]}'>"
        f"{_finding(verdict['finding'])}"
        f"<span class='confidence'>without a defence; confidence {verdict['confidence']:.0%}</span>"
        f"<p>{_text(verdict['reason'])}; {labels:.0%} of the labels restored</p></div>"
    )


def _threat_model(described):
    items = "".join(f"<li>{_text(sentence)}</li>" for sentence in described["assumptions"])
    drawn = "no class twice" if described["unique_labels"] else "classes as frequent as in the data"
    return (
        "<h2>Threat model</h2><p>The findings hold under these assumptions, and no others:</p>"
        f"<ul>{items}<li>The attacker knows the network, its weights and its loss. Batches have "
        f"{drawn}; {described['num_batches']} of each size were attacked.</li></ul>"
    )


def _defences(found):
    rows = []
    for cell in worst_by_defence(found["cells"]):
        rows.append(
            _row(
                cell["batch_size"],
                cell["defence"],
                cell["attack"],
                _finding(cell["finding"]),
                f"{cell['confidence']:.0%}",
                f"{cell['psnr_db']:.1f}",
                f"{cell['control_psnr_db']:.1f}",
                f"{cell['iip']:.0%}",
                f"{cell['label_accuracy']:.0%}",
                _epsilon(cell["epsilon"]),
                f"{cell['gradient_similarity']:.3f}",
                _accuracy(found["utility"], cell),
            )
        )
    delta = found["audit"]["delta"]
    head = (
        "batch",
        "defence",
        "best attack",
        "finding",
        "confidence",
        "PSNR dB",
        "controls dB",
        "identified",
        "labels",
        f"&epsilon; (&delta; = {delta:g})",
        "gradient kept",
        "accuracy",
    )
    return (
        "<h2>Defences, each against its best attack</h2>"
        + _table(head, rows)
        + "<p class='note'>&epsilon; is that of one release; only it is a guarantee. "
        "&ldquo;Gradient kept&rdquo; is the cosine between the released and the true gradient; "
        "&ldquo;accuracy&rdquo; is that of the network after training with the defence, where it "
        "was measured."
        "</p>"
    )


def _grid(found):
    head = (
        "batch",
        "defence",
        "attack",
        "finding",
        "PSNR dB [95 %]",
        "registered",
        "SSIM",
        "features",
        "FFT",
        "RDLV",
        "without gradient dB",
        "unrelated dB",
        "identified",
        "by controls",
        "labels",
        "ms a step",
        "s",
    )
    rows = [
        _row(
            c["batch_size"],
            c["defence"],
            c["attack"],
            _finding(c["finding"]),
            f"{c['psnr_db']:.2f} [{c['psnr_interval_db'][0]:.1f}, {c['psnr_interval_db'][1]:.1f}]",
            f"{c['registered_psnr_db']:.2f}",
            f"{c['ssim']:.3f}",
            f"{c['feature_distance']:.3f}",
            f"{c['fourier_distance']:.4f}",
            f"{c['rdlv']:.2f}",
            f"{c['prior_psnr_db']:.2f}",
            f"{c['unrelated_psnr_db']:.2f}",
            f"{c['iip']:.0%}",
            f"{c['iip_control']:.0%}",
            f"{c['label_accuracy']:.0%}",
            f"{c['ms_per_step']:.1f}",
            f"{c['seconds']:.0f}",
        )
        for c in found["cells"]
    ]
    memory = found["peak_memory_gib"]
    note = "" if memory is None else f"<p class='note'>Peak memory: {memory:.2f} GiB.</p>"
    return "<h2>All attacks</h2>" + _table(head, rows) + note


def _gallery(found, pictures):
    parts = ["<h2>Images</h2>"]
    cells = {tuple(c[k] for k in ("batch_size", "defence", "attack")): c for c in found["cells"]}
    for key, shown in pictures.items():
        *cell_key, number = key
        if number >= _MOST_BATCHES:
            continue
        cell = cells[tuple(cell_key)]
        rows = [
            r
            for r in found["images"]
            if (r["batch_size"], r["defence"], r["attack"], r["batch"]) == key
        ]
        # Riskiest image first.
        order = np.argsort([r["control_psnr_db"] - r["psnr_db"] for r in rows], kind="stable")
        figures = "".join(_figure(rows[k], shown, k) for k in order)
        parts.append(
            f"<section><h3>{_text(cell['attack'])} on {_text(cell['defence'])}, batch of "
            f"{cell['batch_size']}, no. {number + 1} {_finding(cell['finding'])}</h3>"
            f"<div class='cards'>{figures}</div></section>"
        )
    return "\n".join(parts)


def _figure(row, shown, k):
    columns = [("original", shown.original[k]), ("restored", shown.reconstruction[k])]
    columns += [(name, images[k]) for name, images in shown.controls.items()]
    cells = "".join(
        f"<figure>{_picture(name, image)}<figcaption>{_text(name)}</figcaption></figure>"
        for name, image in columns
    )
    rank = "identified" if row["rank"] == 0 else f"rank {int(row['rank']) + 1}"
    return (
        f"<div class='card'><div class='strip'>{cells}</div>"
        f"<p>image {row['image']}, class {row['label']}: <b>{row['psnr_db']:.1f} dB</b> "
        f"(control {row['control_psnr_db']:.1f}), SSIM {row['ssim']:.2f}, {rank}</p></div>"
    )


def _chart(found):
    """Leakage against the utility that is left, a dot for each defence: an inline SVG."""
    cells = worst_by_defence(found["cells"])
    if len({c["defence"] for c in cells}) < 2:
        return ""
    width, height, left, bottom = 640, 300, 60, 44
    top = max(max(c["psnr_db"] for c in cells), 20.0) * 1.05
    floor = float(np.mean([c["control_psnr_db"] for c in cells]))

    def x(similarity):
        return left + (width - left - 160) * float(np.clip(similarity, 0.0, 1.0))

    def y(psnr):
        return (height - bottom) * (1 - psnr / top) + 8

    marks = [
        f"<line x1='{left}' x2='{width - 160}' y1='{y(floor):.1f}' y2='{y(floor):.1f}' "
        "stroke='#888' stroke-dasharray='4 4'/>"
        f"<text x='{width - 152}' y='{y(floor) + 4:.1f}' class='axis'>best controls</text>"
    ]
    for value in range(0, int(top) + 1, 10 if top < 80 else 20):
        marks.append(
            f"<line x1='{left - 4}' x2='{left}' y1='{y(value):.1f}' y2='{y(value):.1f}' "
            f"stroke='#888'/><text x='{left - 8}' y='{y(value) + 4:.1f}' text-anchor='end' "
            f"class='axis'>{value}</text>"
        )
    for value in (0.0, 0.25, 0.5, 0.75, 1.0):
        marks.append(
            f"<text x='{x(value):.1f}' y='{height - bottom + 26}' text-anchor='middle' "
            f"class='axis'>{value:g}</text>"
        )
    for number, cell in enumerate(cells, 1):
        cx, cy = x(cell["gradient_similarity"]), y(cell["psnr_db"])
        marks.append(
            f"<circle cx='{cx:.1f}' cy='{cy:.1f}' r='9' fill='{_COLOURS[cell['finding']]}'>"
            f"<title>{_text(cell['defence'])}, batch {cell['batch_size']}</title></circle>"
            f"<text x='{cx:.1f}' y='{cy + 4:.1f}' text-anchor='middle' class='dot'>{number}</text>"
        )
    legend = ", ".join(
        f"{number}&nbsp;{_text(c['defence'])}, batch&nbsp;{c['batch_size']}"
        for number, c in enumerate(cells, 1)
    )
    return (
        "<h2>Leakage against usefulness</h2>"
        f"<svg viewBox='0 0 {width} {height}' role='img' aria-label='PSNR against cosine'>"
        f"<line x1='{left}' x2='{left}' y1='8' y2='{height - bottom + 8}' stroke='#888'/>"
        f"<line x1='{left}' x2='{width - 160}' y1='{height - bottom + 8}' "
        f"y2='{height - bottom + 8}' stroke='#888'/>{''.join(marks)}"
        f"<text x='{(left + width - 160) / 2}' y='{height - 6}' text-anchor='middle' "
        "class='axis'>cosine of released and true gradient (right: useful)</text>"
        f"<text x='14' y='{(height - bottom) / 2}' text-anchor='middle' class='axis' "
        f"transform='rotate(-90 14 {(height - bottom) / 2})'>PSNR, dB (up: leaks)</text></svg>"
        f"<p class='note'>{legend}.</p>"
    )


def _explanations(found):
    described = found["audit"]
    pool = described["pool_size"]
    return (
        "<h2>How to read this</h2><ul class='note'>"
        "<li>Reconstructions come in no order; each original is compared with the one that the "
        "assignment of least squared error gives it.</li>"
        "<li>&ldquo;Without gradient&rdquo; is the same attack with its gradient term off: what "
        "priors and batch-norm statistics alone show. &ldquo;Unrelated&rdquo; are other images. "
        "Only what exceeds the better of both is credited to the gradient.</li>"
        f"<li>&ldquo;Identified&rdquo; (IIP): the nearest of {pool} images by pixel correlation is "
        f"the source itself; chance is {1 / pool:.2%}. An image can be identified at a PSNR below "
        "that of a grey square.</li>"
        f"<li>A cell leaks if its mean margin exceeds {described['threshold_db']:g} dB with 95 % "
        "confidence (bootstrap over images), or more images are identified than chance explains "
        "(1 %). &ldquo;No leak found&rdquo; speaks of these attacks and this budget: a failed "
        "attack proves nothing.</li>"
        f"<li>Features: {_text(described['feature_extractor'])} (LPIPS without learned weights). "
        "FFT: mean absolute difference of orthonormal spectral magnitudes. RDLV: relative gain in "
        "SSIM over the attack without gradient. Registered: after the best shift and mirroring."
        "</li></ul>"
    )


def _epsilon(value):
    if value is None or value == float("inf"):
        return "no bound"
    return f"{value:.2f}" if value < 100 else f"{value:,.0f}"


def _accuracy(utility, cell):
    found = [u["accuracy"] for u in utility if u["defence"] == cell["defence"]]
    return f"{found[0]:.1%}" if found else "&ndash;"


def _finding(finding):
    return f"<b class='finding' style='background:{_COLOURS[finding]}'>{_text(finding)}</b>"


def _table(head, rows):
    cells = "".join(f"<th>{name}</th>" for name in head)
    return f"<div class='scroll'><table><tr>{cells}</tr>{''.join(rows)}</table></div>"


def _row(*values):
    """Cells; strings that begin with a tag are markup of ours, all others are text."""
    cells = [v if str(v).startswith(("<b ", "&ndash;")) else _text(v) for v in values]
    return "<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"


def _text(value: Any) -> str:
    return html.escape(str(value))


def _picture(name: str, image: np.ndarray) -> str:
    """An image with its PNG inside; the browser enlarges small ones, without smoothing."""
    pixels = as_bytes(image)
    picture = Image.fromarray(pixels if pixels.shape[-1] == 3 else pixels[..., 0])
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG", optimize=True)
    data = base64.b64encode(buffer.getvalue()).decode()
    width = picture.width * max(1, _THUMBNAIL // max(picture.size))
    return f"<img alt='{_text(name)}' width='{width}' src='data:image/png;base64,{data}'>"


_STYLE = """
body{margin:0;font:15px/1.5 system-ui,sans-serif;color:#1d1d1f;background:#fff}
main{max-width:1180px;margin:0 auto;padding:24px}
h1{font-size:26px;margin:0 0 4px}h2{font-size:19px;margin:36px 0 8px}
h3{font-size:15px;margin:22px 0 8px}
.facts,.note{color:#55565a}.note{font-size:13px}
.verdict{border-left:8px solid;padding:10px 16px;background:#f6f6f7;margin:16px 0}
.verdict p{margin:6px 0 0}.confidence{margin-left:12px;color:#55565a}
.finding{color:#fff;border-radius:4px;padding:1px 8px;font-size:13px;white-space:nowrap}
.scroll{overflow-x:auto}
table{border-collapse:collapse;font-size:12.5px;font-variant-numeric:tabular-nums}
th{text-align:left;font-weight:600;border-bottom:2px solid #ccc;vertical-align:bottom}
th,td{padding:4px 8px 4px 0}td{border-bottom:1px solid #eee;white-space:nowrap}
.cards{display:flex;flex-wrap:wrap;gap:14px}
.card{border:1px solid #ddd;border-radius:6px;padding:8px}
.card p{margin:6px 0 0;font-size:12px}.strip{display:flex;gap:8px}
figure{margin:0}figcaption{font-size:11px;color:#55565a}
img{image-rendering:pixelated;display:block}
svg{max-width:640px;width:100%}.axis{font-size:12px;fill:#55565a}
.dot{font-size:11px;fill:#fff;font-weight:600}
""".strip()
