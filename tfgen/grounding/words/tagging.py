"""Which words are nouns and which adjectives: the one thing that captions have to be asked.

A tagger is a function from the words of a sentence to as many tags of the Penn Treebank. The one
that comes along knows the little words of English by heart and judges the others by their endings
and neighbours; captions are simple sentences, and it is right about most of their nouns. NLTK's and
spaCy's are better, and have to be fetched.
"""

from collections.abc import Callable, Sequence

from tfgen.errors import UserError

Tagger = Callable[[Sequence[str]], list[str]]

_LEXICON = {
    "DT": (
        "a an the this that these those some any each every another no both all either neither "
        "several many few"
    ),
    "IN": (
        "of in on at by with from into onto over under near behind beside between through "
        "during after before above below across along against around among while as for off out "
        "up down than inside outside toward towards past upon within without atop next like "
        "about because if that underneath beneath amongst alongside amid despite until since "
        "whose"
    ),
    "CC": "and or but nor yet so plus",
    "TO": "to",
    "PRP": (
        "he she it they him them we us i you himself herself itself themselves someone "
        "something one everyone nobody nothing who which what"
    ),
    "PRP$": "his her its their our my your",
    "MD": "can could will would shall should may might must",
    "VBZ": (
        "is has does sits stands walks runs plays rides holds wears looks jumps eats lies flies "
        "hangs leans takes makes gets shows contains features watches throws catches swings "
        "hits kicks carries pulls pushes poses prepares performs waits smiles stares goes comes "
        "uses"
    ),
    "VBP": (
        "are have do am sit stand walk run play ride hold wear look jump eat lie fly watch hang "
        "lean take make get show pose prepare wait go come use swim sleep talk"
    ),
    "VBD": "was were had did sat stood ran rode held wore ate lay flew threw caught",
    "VBN": (
        "been parked covered filled made seen shown taken decorated dressed surrounded topped "
        "stacked lined mounted displayed painted crowded gathered attached"
    ),
    "RB": (
        "very not there here together away back just also too only almost fully well outdoors "
        "indoors upside while nearby still now then again apart forward ahead"
    ),
    "CD": "two three four five six seven eight nine ten eleven twelve dozen",
    "JJ": (
        "black white red green blue yellow brown orange pink purple gray grey silver golden "
        "gold tan dark bright big small large little tall short long old young new empty full "
        "open closed dirty clean wet dry hot cold wooden metal grassy sandy snowy rocky sunny "
        "cloudy colorful striped plaid plastic furry fluffy double different various other same "
        "several beautiful nice cute happy low high front left right middle male female asian "
        "african bare busy calm clear close crowded electric fancy flat floral fresh giant hard "
        "huge messy modern narrow native oriental public round shiny soft square stone thick "
        "thin tiny vintage warm whole wide blond blonde bald shirtless professional older "
        "younger elderly many few more less lone single"
    ),
    "NN": (
        "man woman boy girl dog cat horse bird child baby person people men women children guy "
        "lady street building train bus car truck bike motorcycle plane boat table plate food "
        "pizza cake sandwich bed bathroom kitchen room toilet sink mirror window clock tower "
        "sign light field grass beach ocean water wave surfboard skateboard snowboard ski snow "
        "mountain sky tree flower vase umbrella hat shirt t-shirt jacket tie phone computer "
        "laptop keyboard mouse tv ball bat racket frisbee kite game player team baseball tennis "
        "soccer elephant giraffe zebra bear cow sheep group bunch pair couple front side top "
        "view background sidewalk road park fence bench chair couch counter bowl cup glass "
        "bottle knife fork spoon fruit apple banana orange broccoli carrot meal wine area air "
        "hand head face hair mouth back city station track ring king wing spring string thing "
        "morning evening ceiling clothing painting drawing wedding railing crossing dressing "
        "swing red bread seed hundred"
    ),
}
_KNOWN = {word: tag for tag, words in reversed(_LEXICON.items()) for word in words.split()}
_PLURALS = ("people", "men", "women", "children", "sheep")
_ADJECTIVES = ("ous", "ful", "ish", "less", "able", "ible", "ical", "ive", "ary", "est")


def words_of(caption: str) -> list[str]:
    """The words of a caption between spaces, without the punctuation around them.

    A word of nothing else stays as it is, so that the numbers of the words are those of
    `caption.split()`.
    """
    return [word.strip(".,;:!?\"'()[]") or word for word in caption.split()]


class LexiconTagger:
    """Tags by a small lexicon, by endings and by the word before; needs no data.

    Args:
        extra: dict of word -> tag that goes before what the tagger knows; None: nothing more.
    """

    def __init__(self, extra: dict[str, str] | None = None):
        self.extra = dict(extra or {})

    def __call__(self, words: Sequence[str]) -> list[str]:
        tags = []
        for word in words:
            before = tags[-1] if tags else ""
            tags.append(self.extra.get(word) or _tag(word.lower(), before))
        # What stands before nouns and is no noun, but ends a phrase, was one: "the young smile".
        for index, tag in enumerate(tags):
            following = tags[index + 1] if index + 1 < len(tags) else "."
            before = tags[index - 1] if index else ""
            ends = following in (".", "IN", "CC", "VBZ", "VBP", "VBG", "VBD", "MD", "TO", ",")
            if tag == "JJ" and before == "DT" and ends:
                tags[index] = "NN"
        return tags


def _tag(word: str, before: str) -> str:
    if not any(character.isalnum() for character in word):
        return "."
    if word in _KNOWN:
        known = _KNOWN[word]
        if word == "one" and before == "DT":  # "a one beside a two" is a numeral, "one of them" not
            return "CD"
        noun_place = before in ("DT", "JJ", "PRP$", "CD")
        if known in ("VBZ", "VBP") and noun_place:
            return "NNS" if known == "VBZ" else "NN"
        return "NNS" if word in _PLURALS else known
    if word[0].isdigit():
        return "CD"
    return _by_ending(word, before)


def _by_ending(word: str, before: str) -> str:
    if word.endswith("ly"):
        return "RB"
    if word.endswith("ing"):
        return "VBG"
    if word.endswith("ed"):
        return "JJ" if before in ("DT", "JJ") else "VBN"
    if word.endswith(_ADJECTIVES):
        return "JJ"
    if word.endswith("s") and not word.endswith(("ss", "us", "is")):
        singular = word[:-1]
        # After a noun that is one, -s is rather the verb: "a man stands"; of a pair it is nouns.
        if before == "NN" and _KNOWN.get(singular, "").startswith("VB"):
            return "VBZ"
        return "NNS"
    return "NN"


def nltk_tagger() -> Tagger:
    """NLTK's perceptron tagger, a function.

    Raises:
        UserError: NLTK or its data are not there; the message says what to fetch.
    """
    try:
        import nltk
    except ImportError as error:
        raise UserError(
            "NLTK is not installed; pip install 'tfgen[grounding]', or use LexiconTagger()"
        ) from error

    def tag(words: Sequence[str]) -> list[str]:
        return [tag for _, tag in nltk.pos_tag(list(words))]

    try:
        tag(["word"])
    except LookupError as error:
        raise UserError(
            "NLTK has no data of its tagger; fetch them once with python -m nltk.downloader "
            "averaged_perceptron_tagger_eng, or use LexiconTagger()"
        ) from error
    return tag


def spacy_tagger(model: str = "en_core_web_sm") -> Tagger:
    """spaCy's tagger.

    Args:
        model: string, the name of an installed pipeline, or its path. Defaults to
            `"en_core_web_sm"`.

    Returns:
        A `Tagger`, a function.

    Raises:
        UserError: spaCy or the pipeline is not there.
    """
    try:
        import spacy

        pipeline = spacy.load(model, exclude=["parser", "ner", "lemmatizer"])
    except (ImportError, OSError) as error:
        raise UserError(
            f"spaCy cannot load {model!r}: pip install 'tfgen[grounding]' and python -m spacy "
            f"download {model}, or use LexiconTagger()"
        ) from error

    def tag(words: Sequence[str]) -> list[str]:
        from spacy.tokens import Doc

        document = Doc(pipeline.vocab, words=list(words))
        for _, step in pipeline.pipeline:
            document = step(document)
        return [token.tag_ for token in document]

    return tag
