from __future__ import annotations

import pickle
import sys
from types import ModuleType

import pytest

from kikiwake.models import _torchvision


def test_timm_imports_and_makes_networks():
    timm = _torchvision.import_timm()
    assert timm.is_model("resnet18")
    assert "torchvision" in sys.modules
    assert _torchvision.import_timm() is timm


def test_nothing_is_declared_where_torchvision_imports_by_itself(monkeypatch):
    healthy = ModuleType("torchvision")
    monkeypatch.setattr(_torchvision, "_declared", [])
    monkeypatch.setattr(_torchvision.importlib, "import_module", lambda _: healthy)
    assert _torchvision.import_torchvision() is healthy
    assert _torchvision._declared == []


def test_other_failures_of_torchvision_are_not_hidden(monkeypatch):
    def fail(name):
        raise RuntimeError("no kernel image is available")

    monkeypatch.setattr(_torchvision.importlib, "import_module", fail)
    with pytest.raises(RuntimeError, match="no kernel image"):
        _torchvision.import_torchvision()


def test_a_second_failure_is_not_tried_again(monkeypatch):
    calls = []

    def fail(name):
        calls.append(name)
        raise RuntimeError("operator torchvision::nms does not exist")

    monkeypatch.setattr(_torchvision, "_declared", [object()])
    monkeypatch.setattr(_torchvision.importlib, "import_module", fail)
    with pytest.raises(RuntimeError, match="nms"):
        _torchvision.import_torchvision()
    assert calls == ["torchvision"]


def test_networks_of_timm_go_through_pickle():
    network = _torchvision.import_timm().create_model("resnet10t")
    assert type(pickle.loads(pickle.dumps(network))) is type(network)
