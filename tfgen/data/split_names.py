"""What folders of training, validation and test images are called."""

import re
import unicodedata
from collections.abc import Iterable, Mapping

# Names of subfolders, in lower case. A set that has no test part of its own is evaluated on its
# validation part, as the papers do.
TRAIN = ("train", "training", "train_32x32")
VALIDATION = ("validation", "valid", "val", "dev", "eval", "valid_32x32")
TEST = ("test", "testing")
PARTS = (TRAIN, VALIDATION, TEST)
SPLIT_FOLDERS = {"train": TRAIN, "validation": VALIDATION, "test": (*TEST, *VALIDATION)}
# What people write behind them: train_images, Testset, val2017.
_SPLIT_NAME = re.compile(
    rf"({'|'.join(sorted({name for names in PARTS for name in names}))})"
    r"(?:[\W_]*(?:set|split|images?|imgs|data|\d{4}|\d+x\d+))?"
)

# Words of names that may mean the same, in other languages too, without accents. They are not
# taken for splits, which they may not be; where two stand side by side, nothing is guessed.
_LIKE_TRAIN = re.compile(
    "train(ing)?|entrenamiento|entrainement|apprentissage|treino|treinamento|addestramento|"
    "opleiding|trening(owe)?|uczenie|egitim|обучение|обучающая|тренировка|训练|訓練|学習|학습|훈련"
)
_LIKE_HELD_OUT = re.compile(
    "tests?|testing|val|valid|validation|dev|eval|evaluation|pruebas?|validacion|evaluacion|testes?|"
    "validacao|avaliacao|essai|prova|verifica|validazione|prufung|validierung|validatie|testowe|"
    "walidacja|dogrulama|тест|тестовая|проверка|валидация|测试|測試|验证|驗證|テスト|検証|評価|"
    "테스트|검증|평가"
)
_SHORT_TRAIN, _SHORT_HELD_OUT = ("tr", "trn"), ("te", "ts", "tst", "va")
# Behind a word without a space: Trainingsdaten, Testbilder, 训练集.
_BEHIND = re.compile(r"s?(?:daten|bilder|satz|menge|set|split|data|images?|imgs)$|集$|データ$")


def split_name(folder_name: str) -> str | None:
    """Which of `PARTS` a folder is called, whatever is written behind it; None: not one."""
    match = _SPLIT_NAME.fullmatch(folder_name.lower())
    return match[1] if match else None


def alike_splits(folders: Mapping[str, Iterable[str]]) -> tuple[str, str] | None:
    """Two of the folders that lie side by side which seem to hold training and other images.

    They do if their names differ by nothing but such a word (`trainA/` and `testA/`,
    `Trainingsdaten/` and `Testdaten/`), or have such words and the same folders within. Short words
    (`tr/` and `te/`), which may be classes, count where there is nothing else.

    Args:
        folders: name of a folder -> names of the folders within it.

    Returns:
        The names of a folder of training images and of another one; None: there are none.
    """
    known = {True: [], False: []}
    kinds = {name: (_kind(name, False), _kind(name, True)) for name in sorted(folders)}
    all_are = all(short is not None for _, short in kinds.values())
    for name, (plain, short) in kinds.items():
        kind = short if all_are else plain
        if kind is not None:
            known[kind[0]].append((name, kind[1]))
    for first, rest in known[True]:
        for second, other_rest in known[False]:
            within = set(folders[first])
            if rest == other_rest or (within and within == set(folders[second])):
                return first, second
    return None


def _kind(folder_name: str, short: bool) -> tuple[bool, tuple[str, ...]] | None:
    """Whether a word of a name means training, and the others around it; None: no word means
    either."""
    words = _words(folder_name)
    for place, word in enumerate(words):
        stem = _BEHIND.sub("", word) or word
        is_train = _LIKE_TRAIN.fullmatch(stem) or (short and stem in _SHORT_TRAIN)
        held_out = _LIKE_HELD_OUT.fullmatch(stem) or (short and stem in _SHORT_HELD_OUT)
        if is_train or held_out:
            return bool(is_train), (*words[:place], "", *words[place + 1 :])
    return None


def _words(name: str) -> list[str]:
    """In lower case and without accents; a capital behind a small letter begins one."""
    apart = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)
    plain = unicodedata.normalize("NFKD", apart.casefold())
    letters = re.sub("[\u0300-\u036f]", "", plain)  # of Latin letters; Japanese ones have others
    return re.findall(r"\d+|[^\W\d_]+", unicodedata.normalize("NFC", letters))
