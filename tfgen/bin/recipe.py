"""The recipe a program reads, and the plan it prints instead of working."""

import ast

from absl import flags
from ml_collections import config_flags


class _OrNone(flags.ArgumentParser):
    """Words as another parser reads them, and `None`: whether a field takes it is checked later."""

    def __init__(self, parser: flags.ArgumentParser):
        self._parser = parser
        self.syntactic_help = parser.syntactic_help

    def parse(self, argument):
        return None if argument == "None" else self._parser.parse(argument)

    def flag_type(self):
        return self._parser.flag_type()


_SAME = {"yes": "true", "on": "true", "no": "false", "off": "false"}


class _Truth(flags.BooleanParser):
    """`yes` and `no` too, as fields take them that a recipe leaves out."""

    def parse(self, argument):
        word = argument.lower() if isinstance(argument, str) else argument
        return super().parse(_SAME.get(word, argument))


class _List(flags.ArgumentParser):
    """Lists as Python writes them."""

    syntactic_help = "a list, such as ['a', 'b']"

    def parse(self, argument):
        if not isinstance(argument, str):
            return argument
        try:
            found = ast.literal_eval(argument)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            found = None
        if not isinstance(found, list | tuple):
            raise ValueError(f"expected {self.syntactic_help}")
        return list(found)


# A recipe that counts its steps would otherwise fix that they are counted.
for _kind, _parser in {
    int: flags.IntegerParser(),
    float: flags.FloatParser(),
    bool: _Truth(),
    list: _List(),
}.items():
    config_flags.register_flag_parser_for_type(_kind, _OrNone(_parser))

CONFIG = config_flags.DEFINE_config_file(
    "config",
    None,
    "The recipe, FILE or FILE:MODE; single fields change with --config.SECTION.FIELD=VALUE, and "
    "None sets one back to its default.",
    lock_config=False,
    accept_new_attributes=True,  # a valid field need not be in the file; invalid ones are refused
)
DRY_RUN = flags.DEFINE_bool("dry_run", False, "Print the plan as one JSON object and stop.")
