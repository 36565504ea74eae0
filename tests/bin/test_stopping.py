"""Signals: none is lost wherever it lands, and a program that does not look is ended."""

import gc
import os
import signal
import subprocess
import sys
import time
import weakref

import pytest

from tfgen import stopping
from tfgen.bin import app, terminal

# Says when it works; looks at the signals or not, and counts what it had done when it was stopped.
PROGRAM = """
import os, sys, time
from absl import flags
from tfgen import stopping
from tfgen.bin import app
stopping.PATIENCE = 0.4
nowhere = os.open(os.devnull, os.O_WRONLY)

def main(argv):
    print("working", flush=True)
    for _ in range(200):
        {body}
        time.sleep(0.05)

app.run("tfgen-test", main)
"""


@pytest.fixture(autouse=True)
def _fresh_flags():
    app.flags.FLAGS(["test"])


@pytest.fixture
def start():
    """`start(body)` runs `PROGRAM` with that line in its loop; it does not outlive the test."""
    begun = []

    def run(body="stopping.check()", **options):
        process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM.format(body=body)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **options,
        )
        begun.append(process)
        assert process.stdout.readline() == "working\n"
        return process

    yield run
    for process in begun:
        process.kill()
        process.communicate()


@pytest.mark.parametrize(
    ("number", "code", "word"),
    [
        (signal.SIGINT, 130, "interrupted"),
        (signal.SIGTERM, 143, "terminated"),
        (signal.SIGHUP, 129, "hung up"),
    ],
)
@pytest.mark.parametrize("body", ["stopping.check()", "pass", "os.dup2(nowhere, 2)"])
def test_a_signal_ends_a_program_whether_it_looks_or_not(start, number, code, word, body):
    process = start(body)
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == code
    assert (out, err) == ("", f"tfgen-test: {word}; run the same command again to continue\n")


def test_ignored_signals_stay_ignored(start):
    process = start(preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
    process.send_signal(signal.SIGHUP)
    time.sleep(0.3)
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == 143


def test_the_second_interrupt_stops_what_is_patient(start):
    process = start("with stopping.patient(): time.sleep(60)")
    process.send_signal(signal.SIGINT)
    time.sleep(2.0)  # beyond the patience, and far enough apart to be two
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130


class Finalised:
    """Runs a function where Python discards whatever it raises."""

    def __init__(self, function):
        self.function = function

    def __del__(self):
        self.function()


def test_a_signal_within_a_finaliser_or_a_callback_is_not_lost(capfd):
    def interrupt(*_):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.01)

    def in_finaliser(argv):
        circle = [Finalised(interrupt)]
        circle.append(circle)
        del circle
        gc.collect()
        stopping.check()

    def in_weak_reference(argv):
        owner = Finalised(lambda: None)
        reference = weakref.ref(owner, interrupt)
        del owner
        assert reference() is None

    for main in (in_finaliser, in_weak_reference):
        assert app.execute("tfgen-test", main, ["tfgen-test"]) == 130
        assert "interrupted" in capfd.readouterr().err
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_progress_looks(capfd):
    def main(argv):
        with terminal.progress("scoring", 10) as advance:
            for done in range(10):
                assert done < 3, "went on"
                if done == 2:
                    os.kill(os.getpid(), signal.SIGTERM)
                advance(done)

    assert app.execute("tfgen-test", main, ["tfgen-test"]) == 143


def test_without_a_program_nothing_is_watched():
    assert not stopping.requested()
    stopping.check()
    with stopping.patient():
        pass


PIPED = """
import sys, time
from tfgen.bin import app

def main(argv):
    for number in range(2000):
        print("line", file=sys.STREAM, flush=number % 2 == 0)
    sys.stderr.write("done\\n")
    return 7

app.run("tfgen-test", main)
"""


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_a_reader_that_is_gone_does_not_end_the_work(stream):
    code = PIPED.replace("STREAM", stream)
    reading, writing = os.pipe()
    os.close(reading)
    process = subprocess.run(
        [sys.executable, "-c", code],
        text=True,
        timeout=60,
        **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, stream: writing},
    )
    os.close(writing)
    assert process.returncode == 7
    assert (process.stderr if stream == "stdout" else process.stdout) in ("done\n", "")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_full_disk_under_the_output_is_named():
    with open("/dev/full", "w") as full:
        process = subprocess.run(
            [sys.executable, "-c", PIPED.replace("STREAM", "stdout")],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
        )
    assert process.returncode == 2
    assert process.stderr == "tfgen-test: cannot use '<stdout>': No space left on device\n"
