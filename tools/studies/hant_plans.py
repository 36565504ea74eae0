"""Do scores of single layers say what whole networks lose, and do many plans beat the first?

    python tools/studies/hant_plans.py --config=configs/hant/digits.py --workdir=runs/fast

The folder is one in which tfgen-transform has ended with the same recipe. Random plans of all
budgets, or with --draws random solved those of the programme as well, are put together, and what
their networks lose on images that were set aside is ranked
beside the sums of their layers' scores (Kendall's tau), by every measure of scores, with moving
statistics of batch norm taken anew, as plans are compared, and as the candidates have them. Then
diverse plans of the run's own budget are evaluated, and the best of all is held against the first
on other images, and both once they are trained as the student was, for several seeds. Writes
`additivity.json`, `additivity.png` and `diversity.json`; the same command again goes on.
"""

import argparse

import hant_additivity
import hant_diversity
from hant import read_recipe

from tfgen.runs.transforming import Transforming
from tfgen.runs.workdir import Workdir
from tfgen.search.hant import CutNetwork


def study(config, workdir, data_dir, *, count, plans, seeds, images, draws) -> None:
    """Both parts.

    Args:
        config: dict of the transformation, complete.
        workdir: `Workdir` of one that has ended.
        data_dir: path of the folder with data sets, or None.
        count: integer, plans of every draw.
        plans: integer, diverse plans at most; 0 looks at none.
        seeds: integer, trainings.
        images: integer, those that were set aside and by which is judged.
        draws: sequence of strings, see `hant_additivity.DRAWS`.
    """
    transforming = Transforming(config, workdir, data_dir, say=print)
    hant, source, held_out = transforming.prepared()
    data = transforming.some(held_out, config["plan"]["num_images"] + images)

    def once_more():
        return CutNetwork(transforming.teacher(), config["pool"]["boundaries"])

    learning = transforming.some(source, config["scores"]["num_images"])
    for draw in draws:
        hant_additivity.additivity(
            transforming, hant, once_more(), [x[-images:] for x in data], learning, count, draw
        )
        print("\n".join(hant_additivity.table(workdir.path, draw)), flush=True)
    if not plans:
        return
    hant_diversity.diversity(transforming, hant, once_more, data, plans, seeds)
    print("\n".join(hant_diversity.table(workdir.path)), flush=True)


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--config", required=True, help="FILE or FILE:MODE, as of tfgen-transform")
    parser.add_argument("--workdir", required=True)
    parser.add_argument("--data_dir")
    parser.add_argument("--count", type=int, default=120, help="plans of every draw")
    parser.add_argument("--plans", type=int, default=100, help="diverse plans at most")
    parser.add_argument("--seeds", type=int, default=3, help="trainings of both")
    parser.add_argument("--images", type=int, default=2000, help="by which networks are judged")
    draws = list(hant_additivity.DRAWS)
    parser.add_argument("--draws", nargs="+", default=draws[:1], choices=draws)
    given = parser.parse_args()
    names = ("count", "plans", "seeds", "images", "draws")
    options = {name: getattr(given, name) for name in names}
    study(read_recipe(given.config), Workdir(given.workdir), given.data_dir, **options)


if __name__ == "__main__":
    main()
