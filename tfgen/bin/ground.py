r"""Says where the phrases of a caption are in a picture, as one JSON object.

tfgen-ground --workdir=runs/scenes --image=scene.png --caption="a three beside a seven"
tfgen-ground --preset=runs/scenes --image=scene.png --caption="a seven" --output=seven.png

`{"phrases": [{"phrase": ..., "box": [x1, y1, x2, y2], "score": ...}, ...]}`: pixels of the picture,
both ends included; the box is null where the model abstains. --output draws boxes and heat maps.
"""

import json
import math
from collections.abc import Sequence

from absl import flags

from tfgen.bin import app, loading, terminal
from tfgen.errors import UserError

IMAGE = flags.DEFINE_string("image", None, "File of the picture.")
CAPTION = flags.DEFINE_string("caption", None, "A sentence about it.")
PHRASES = flags.DEFINE_list("phrases", None, "Parts of the caption; default: its noun phrases.")


def main(argv: Sequence[str]) -> None:
    """What the binary does, in order."""
    del argv
    for flag in (IMAGE, CAPTION):
        if flag.value is None:
            raise UserError(f"--{flag.name} is missing; give a picture and a sentence about it")
    with terminal.quiet_import(app.DEBUG.value):
        from tfgen.grounding import PhraseGrounding
        from tfgen.grounding.drawing import draw_phrases
        from tfgen.grounding.pictures import read_picture
        from tfgen.systems import presets

        name = loading.PRESET.value or app.WORKDIR.value
        if name is None:
            raise UserError("--workdir or --preset is missing; it names a trained model")
        model = presets.from_preset(name)
    if not isinstance(model, PhraseGrounding):
        raise UserError(f"{name} is a {type(model).__name__}, which grounds no phrases")
    picture = read_picture(IMAGE.value)
    found = model.ground(picture, CAPTION.value, phrases=PHRASES.value)
    if not found:
        raise UserError(
            f"--caption={CAPTION.value!r} has no noun with what belongs to it; name the words to "
            "look for by --phrases"
        )
    if loading.OUTPUT.value is not None:
        draw_phrases(picture, found, loading.OUTPUT.value, CAPTION.value)
    print(_one_line({"phrases": [_plain(one) for one in found]}), flush=True)


def _one_line(found: dict) -> str:
    """JSON in which what would steer a terminal, or end a line, is written as JSON escapes it."""
    text = json.dumps(found, ensure_ascii=False)
    return "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in text)


def _plain(one) -> dict:
    return {
        "phrase": one.phrase,
        "box": None if one.box is None else [round(float(end), 2) for end in one.box],
        "score": round(one.score, 6) if math.isfinite(one.score) else None,
    }


def run() -> None:
    """The console script."""
    app.run("tfgen-ground", main)


if __name__ == "__main__":
    run()
