"""`lipaudit.clip_model`: its own names in what it says."""

import pytest
import repair_models as models

import lipaudit
from lipaudit.errors import UsageError

QUICK = {"attack": False, "profile": "fast"}


@pytest.mark.parametrize(
    ("asked", "part"),
    [
        ({}, "lipschitz=C, or layer_norm=C"),
        ({"lipschitz": 1, "how": "magic"}, "how 'magic'"),
        ({"lipschitz": 1, "biases": "some"}, "biases 'some'"),
    ],
)
def test_mistakes_are_told_in_the_names_of_arguments(tmp_path, asked, part):
    with pytest.raises(UsageError) as told:
        lipaudit.clip_model(tmp_path / "net.onnx", **asked)
    assert part in str(told.value)
    assert "--" not in str(told.value)


def test_a_layer_that_is_not_there(tmp_path):
    path = models.write_network(tmp_path / "net.onnx")
    with pytest.raises(UsageError) as told:
        lipaudit.clip_model(path, lipschitz=1, layers="conv9", **QUICK)
    assert str(told.value).startswith("layers conv9: no linear layer")
    assert told.value.args == (told.value.message,)


def test_an_argument_that_nobody_knows_is_told_at_once():
    with pytest.raises(TypeError, match=r"clip_model\(\) got an unexpected keyword argument 'foo'"):
        lipaudit.clip_model("nowhere.onnx", lipschitz=1, foo=3)
