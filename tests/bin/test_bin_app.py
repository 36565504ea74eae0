"""Flags, exit codes, and errors in one line."""

import errno
import os
import signal
import types
import warnings

import pytest
from absl.testing import flagsaver

from tfgen.bin import app, terminal
from tfgen.errors import DataError


@pytest.fixture(autouse=True)
def _fresh_flags():
    app.flags.FLAGS(["test"])
    with flagsaver.flagsaver():
        yield


def run(main, *argv):
    return app.execute("tfgen-test", main, app.parse("tfgen-test", ["tfgen-test", *argv]))


def raising(error):
    def main(argv):
        raise error

    return main


def test_success_is_silent(capfd):
    assert run(lambda argv: None) == 0
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (DataError("no file\n  a.npz; put it there"), 2, "no file a.npz; put it there"),
        (OSError(errno.ENOSPC, "No space left on device", "/x/y"), 2, "No space left on device"),
        (PermissionError(errno.EACCES, "Permission denied", "/x/y"), 2, "'/x/y': Permission"),
        (MemoryError(), 2, "out of memory; ask for less at once"),
        (MemoryError("Unable to allocate 8. GiB"), 2, "memory (Unable to allocate 8. GiB); ask"),
        (DataError("no file \x1b[2Ja\x9b.npz\u202e"), 2, r"no file \x1b[2Ja\x9b.npz\u202e"),
        (OSError(errno.ENOSPC, "No space left", "/x/\x1b]0;y"), 2, r"'/x/\x1b]0;y': No space"),
        (KeyboardInterrupt(), 130, "run the same command again to continue"),
    ],
)
def test_mistakes_get_one_line_and_a_code(error, code, words, capfd):
    assert run(raising(error)) == code
    out, err = capfd.readouterr()
    assert out == ""
    assert err.startswith("tfgen-test: ")
    assert err.count("\n") == 1
    assert words in err


class ResourceExhaustedError(Exception):
    """As TensorFlow's, by whose name it is known."""


@pytest.mark.parametrize(
    ("text", "words", "never"),
    [
        ("OOM when allocating tensor with shape[9,9]\nmore", "memory (OOM when allocating", "disk"),
        ("No space left on device: /x/y.index", "No space left on device: /x/y.index", "memory"),
    ],
)
def test_what_tensorflow_ran_out_of_is_said(text, words, never, capfd):
    assert run(raising(ResourceExhaustedError(text))) == 2
    err = capfd.readouterr().err
    assert words in err
    assert never not in err


def test_printed_names_do_not_steer_the_terminal(capfd):
    terminal.say("a\x1b[31m.png\nb\r\x07 \N{PLUS-MINUS SIGN}")
    assert capfd.readouterr().out == "a\\x1b[31m.png\nb\\r\\x07 \N{PLUS-MINUS SIGN}\n"


def test_debug_shows_where(capfd):
    assert run(raising(DataError("no file")), "--debug") == 2
    err = capfd.readouterr().err
    assert "Traceback" in err
    assert err.endswith("tfgen-test: no file\n")


def test_a_bug_is_not_hidden():
    with pytest.raises(ZeroDivisionError):
        run(raising(ZeroDivisionError()))


def test_sigterm_ends_cleanly_and_the_handler_is_restored(capfd):
    before = signal.getsignal(signal.SIGTERM)
    assert run(lambda argv: os.kill(os.getpid(), signal.SIGTERM)) == 143
    assert signal.getsignal(signal.SIGTERM) is before
    assert "terminated" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--wrokdir=a"], "Unknown command line flag 'wrokdir'. Did you mean: workdir"),
        (["--debug=perhaps"], "debug"),
        (["--config=no/such.py"], "there is no config file 'no/such.py'"),
        (["--config", "no/such.py:mode"], "there is no config file 'no/such.py'"),
    ],
)
def test_wrong_flags_get_one_line(argv, words, capfd):
    with pytest.raises(SystemExit) as end:
        app.parse("tfgen-test", ["tfgen-test", *argv])
    assert end.value.code == 2
    err = capfd.readouterr().err
    assert words in err
    assert err.count("\n") == 1


def test_a_section_that_a_recipe_lacks_is_named_by_its_flag():
    argv = ["tfgen-train", "--config=a.py", "--config.optimizer.prior.rate=1"]
    found = app._field_of(KeyError("'prior'"), argv)
    assert found == "--config.optimizer.prior.rate names no field: "
    assert app._field_of(KeyError("'other'"), argv) == app._field_of(ValueError("a"), argv) == ""


def test_stray_words_are_refused(capfd):
    assert run(lambda argv: None, "runs/digits") == 2
    assert "'runs/digits'" in capfd.readouterr().err


@pytest.mark.parametrize("words", [["a"], ["-1"], ["nan"], ["inf"]])
def test_numbers_refuse_what_is_none(words):
    with pytest.raises(app.UserError, match="--temperatures"):
        app.numbers("temperatures", words)


def test_numbers():
    assert app.numbers("temperatures", ["0", "0.5"]) == [0.0, 0.5]


def load_saying(words, error=None):
    with terminal.quiet_import():
        os.write(2, words)
        if error is not None:
            raise error


def test_loading_is_quiet_but_faults_are_shown(capfd):
    load_saying(b"noise")
    assert capfd.readouterr().err == ""
    with pytest.raises(ImportError):
        load_saying(b"reason", ImportError())
    assert capfd.readouterr().err == "reason"
    with pytest.raises(DataError):
        load_saying(b"noise", DataError("mistake"))
    assert capfd.readouterr().err == ""


def test_progress_is_for_people(capfd):
    with terminal.progress("scoring", 3) as advance:
        advance(1)
        advance(3)
    assert capfd.readouterr() == ("", "")


def test_long_work_prints_a_line_a_minute_into_a_log(capfd, monkeypatch):
    seconds = iter([100.0, 110.0, 160.0, 170.0, 220.0, 400.0])
    clock = types.SimpleNamespace(monotonic=lambda: next(seconds))
    monkeypatch.setattr(terminal, "time", clock)
    with terminal.progress("scoring", 5000) as advance:
        for done in (500, 1500, 2000, 4000, 5000):
            advance(done)
    said = ["scoring: 1,500 of 5,000  0:02:20 left", "scoring: 4,000 of 5,000  0:00:30 left"]
    assert capfd.readouterr().out.splitlines() == said


def test_waiting_names_what_begins(capfd):
    with terminal.waiting() as started:
        started("onnx: converting")
    assert capfd.readouterr() == ("onnx: converting ...\n", "")


def test_warnings_are_one_line(capfd):
    assert run(lambda argv: warnings.warn("checkpoint-3 is corrupt.\nTrying 2.", stacklevel=1)) == 0
    err = capfd.readouterr().err
    assert err == "tfgen-test: warning: checkpoint-3 is corrupt. Trying 2.\n"
