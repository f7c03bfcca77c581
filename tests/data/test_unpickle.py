"""Pickles: those of CIFAR are read as Python would, every other one is refused, and none is run."""

import os
import pickle
import random
from pathlib import Path

import numpy as np
import pytest

from lipaudit.data.unpickle import read_pickle
from lipaudit.errors import InputRefused, UnsafeInput

NAME = Path("test_batch")
ROWS = np.arange(2 * 3072, dtype=np.uint32).astype(np.uint8).reshape(2, 3072)


def test_python_2_as_python_3_reads_it(python2_pickle, pictures):
    content = python2_pickle(*pictures)
    ours, theirs = read_pickle(content, NAME), pickle.loads(content, encoding="latin1")
    assert np.array_equal(ours["data"].array, theirs["data"])
    assert np.array_equal(ours["data"].array.reshape(-1, 3, 32, 32), pictures[0])
    assert ours["labels"] == theirs["labels"] == pictures[1].tolist()
    assert ours["filenames"] == theirs["filenames"]
    assert list(ours) == list(theirs)


@pytest.mark.parametrize("protocol", [2, 3, 4])
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("keys", [str, str.encode])
def test_what_python_3_writes(protocol, order, keys):
    value = {keys("data"): np.array(ROWS, order=order), keys("labels"): [0, 9], keys("more"): (1, None, True)}
    ours = read_pickle(pickle.dumps(value, protocol=protocol), NAME)
    assert np.array_equal(ours["data"].array, ROWS)
    assert (ours["labels"], ours["more"]) == ([0, 9], (1, None, True))


class Call:
    """Pickles as a call."""

    def __init__(self, function, *arguments):
        self.reduced = (function, arguments)

    def __reduce__(self):
        return self.reduced


def computed(module, name, command):
    """STACK_GLOBAL with its words from the memo, then the call."""
    words = [module.encode(), name.encode()]
    puts = b"".join(b"\x8c" + bytes([len(word)]) + word + b"\x94" for word in words)
    return b"\x80\x04" + puts + b"h\x00h\x01\x93\x8c" + bytes([len(command)]) + command + b"\x85R."


EVIL = {
    "system": lambda canary: pickle.dumps({"data": Call(os.system, f"touch {canary}")}),
    "system as a name": lambda canary: b"cos\nsystem\n(X" + bytes([len(canary) + 6, 0, 0, 0])
    + b"touch " + canary.encode() + b"tR.",
    "eval": lambda canary: pickle.dumps(Call(eval, f"open({canary!r}, 'w')"), protocol=2),
    "computed names": lambda canary: computed("posix", "system", b"touch " + canary.encode()),
    "getattr": lambda _: pickle.dumps(Call(getattr, Call(__import__, "os"), "system")),
    "numpy's own loader": lambda canary: pickle.dumps(Call(np.load, canary)),
    "an instance": lambda canary: b"(S'touch " + canary.encode() + b"'\nios\nsystem\n.",
    "a class by its number": lambda _: b"\x80\x02\x82\x01)R.",
    "a persistent object": lambda _: b"Pwhatever\n.",
    "new object": lambda _: b"\x80\x02cos\nsystem\n)\x81.",
}  # fmt: skip


@pytest.mark.parametrize("kind", EVIL)
def test_nothing_is_ever_run(tmp_path, kind):
    canary = tmp_path / "canary"
    with pytest.raises(InputRefused) as caught:
        read_pickle(EVIL[kind](str(canary)), NAME)
    assert caught.value.exit_code == 4
    assert not canary.exists()


@pytest.mark.parametrize(
    ("content", "wanted"),
    [
        (EVIL["system"]("x"), "system"),
        (EVIL["eval"]("x"), "eval"),
        (EVIL["computed names"]("x"), "posix.system"),
    ],
)
def test_the_name_it_wanted_is_told(content, wanted):
    with pytest.raises(UnsafeInput, match=wanted) as caught:
        read_pickle(content, NAME)
    assert "nothing was run" in caught.value.hint


# An array of unsigned bytes, built from its parts.
RECONSTRUCT = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
BYTES = b"cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b".",
        b"\x80",
        b"\x80\x02",
        b"\x80\x02}",
        b"K\x01.",
        b"]].",
        b"e.",
        b"u.",
        b"h\x05.",
        b"t.",
        b"R.",
        b"b.",
        b"\x85.",
        b"K\x01K\x01R.",
        b"]K\x01K\x02s.",
        b"}K\x01K\x02s.",
        b"}(K\x01u.",
        b"K\x01(K\x02e.",
        b"}" + b"]" * 5 + b"(K\x01K\x02u.",
        b"}(" + b")" + b"\x85" * 100_000 + b"K\x01u.",  # a key whose hash would take for ever
        b"}(" + b")" + b"q\x00h\x00\x86" * 60 + b"K\x01u.",  # … or 2⁶⁰ steps
        RECONSTRUCT + b"(K\x01K\x00\x85" + BYTES + b"\x89U\x01atb.",  # a shape the bytes do not have
        RECONSTRUCT + b"(K\x01J\xff\xff\xff\xff\x85" + BYTES + b"\x89U\x01atb.",  # … negative
        RECONSTRUCT + b"(K\x01(" + b"J\xff\xff\xff\x7f" * 20 + b"t" + BYTES + b"\x89U\x01atb.",  # … vast
        RECONSTRUCT + b"(K\x01K\x01\x85cnumpy\ndtype\nU\x02O8K\x00K\x01\x87R\x89U\x01atb.",  # objects
        RECONSTRUCT + b"(K\x01K\x01\x85K\x07\x89U\x01atb.",  # a type that is none
        RECONSTRUCT + b"(K\x01K\x01\x85" + BYTES + b"\x89]tb.",  # content that is none
        RECONSTRUCT + b"K\x01b.",
        b"cnumpy\nndarray\n)R.",
        b"c_codecs\nencode\n(K\x01X\x06\x00\x00\x00latin1tR.",
        b"c_codecs\nencode\n(X\x01\x00\x00\x00aX\x03\x00\x00\x00hextR.",
        b"\x80\x02T\xff\xff\xff\x7fabc.",  # two gigabytes announced, three bytes there
        b"\x80\x04\x8e\xff\xff\xff\xff\xff\xff\xff\x7fabc.",
        b"\x80\x02K\x01r\xff\xff\xff\xff.",  # a memo of four billion places
        b"\x80\x05\x96\x00\x00\x00\x00\x00\x00\x00\x00.",
        b"I" + b"9" * 100_000 + b"\n.",
        b"N" * 3_000_000 + b".",
        b"\x80\x02]q\x00h\x00a.",  # a list in itself
    ],
    ids=lambda content: f"{content[:20]!r}, {len(content)} bytes",
)  # fmt: skip
def test_what_is_no_batch(content):
    with pytest.raises(InputRefused):
        read_pickle(content[:3_000_001], NAME)


def test_mutations_are_read_or_refused(python2_pickle, pictures):
    """Whatever becomes of a real file, the answer is a dictionary or a refusal."""
    rng = random.Random(0)
    good = python2_pickle(pictures[0][:1], pictures[1][:1])
    head = 400  # the operations; what follows is one string of pixels
    refusals = 0
    for _ in range(3000):
        content = bytearray(good)
        for _ in range(rng.choice((1, 1, 2, 5))):
            place = rng.choice((rng.randrange(head), len(good) - 1 - rng.randrange(60)))
            content[place] = rng.randrange(256)
        if rng.random() < 0.2:
            del content[rng.randrange(len(content)) :]
        try:
            assert isinstance(read_pickle(bytes(content), NAME), dict)
        except InputRefused:
            refusals += 1
    assert refusals > 1000
