"""Where tensors are computed: what is resolved when the config is read, and what counts in a fingerprint."""

from __future__ import annotations

import os

import pytest
import torch

from selfstudy.errors import ConfigError
from selfstudy.models.compute import Compute


@pytest.fixture
def eight_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)


@pytest.fixture
def four_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)


def test_the_number_of_processes_is_in_no_fingerprint_but_their_threads_are() -> None:
    one, three = Compute(device="cpu", threads=2), Compute(device="cpu", threads=2, devices=3)
    assert one.identity() == three.identity()
    assert one.identity() != Compute(device="cpu", threads=1).identity()
    assert Compute.parse(three.model_dump(mode="json"), "saved") == three


@pytest.mark.parametrize(("devices", "threads"), [(1, 8), (2, 4), (3, 2), (8, 1), (20, 1)])
def test_processes_share_the_cores_out(devices: int, threads: int, eight_cores: None) -> None:
    assert Compute(device="cpu", devices=devices).threads == threads
    assert Compute(device="cpu", devices=devices, threads=5).threads == 5


@pytest.mark.parametrize(
    ("said", "threads", "devices"),
    [
        ({}, 8, 1),
        ({"threads": 1}, 1, 1),
        ({"threads": 1, "devices": "auto"}, 1, 8),
        ({"threads": 3, "devices": "auto"}, 3, 2),
        ({"threads": 20, "devices": "auto"}, 20, 1),
        ({"devices": 4}, 2, 4),
        ({"devices": "4"}, 2, 4),
        ({"devices": 4.0}, 2, 4),
        ({"threads": "3", "devices": "auto"}, 3, 2),
    ],
)
def test_what_auto_means(said: dict[str, object], threads: int, devices: int, eight_cores: None) -> None:
    found = Compute.parse({"device": "cpu", **said}, "compute")
    assert (found.threads, found.devices) == (threads, devices)
    assert Compute.parse(found.model_dump(mode="json"), "saved") == found


@pytest.mark.parametrize(("stated", "threads"), [("3", 3), ("0", 8), ("", 8), ("2,1", 8)])
def test_the_systems_own_number_of_threads_counts(
    stated: str, threads: int, eight_cores: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", stated)
    assert Compute(device="cpu").threads == threads


def test_places_on_a_cpu() -> None:
    assert Compute(device="cpu", devices="auto").places == ("cpu",)
    assert Compute(device="cpu", devices=3).places == ("cpu", "cpu", "cpu")


def test_places_on_gpus(eight_cores: None, four_gpus: None) -> None:
    everything = Compute(devices="auto")
    assert (everything.device, everything.devices, everything.threads) == ("cuda", 4, 2)
    assert everything.places == ("cuda:0", "cuda:1", "cuda:2", "cuda:3")
    assert Compute(devices=2).places == ("cuda:0", "cuda:1")
    assert Compute().places == ("cuda",)
    # A run made on a larger machine can be asked here.
    assert Compute(devices=8).places == everything.places


@pytest.mark.parametrize("devices", ["auto", 1])
@pytest.mark.parametrize("device", ["gpu", "cuda:1", "mps"])
def test_a_device_that_is_none_is_told_what_there_is(device: str, devices: str | int) -> None:
    with pytest.raises(ConfigError, match=rf"compute: device: use auto, cpu or cuda.*\(received '{device}'\)"):
        Compute.parse({"device": device, "devices": devices}, "compute")


@pytest.mark.parametrize("number", [0, -1, "all", 1.5])
@pytest.mark.parametrize("setting", ["devices", "threads"])
def test_what_is_no_number_of_processes_or_threads_is_refused(setting: str, number: object) -> None:
    with pytest.raises(ConfigError, match=rf"compute: {setting}: "):
        Compute.parse({setting: number}, "compute")


def test_threads_are_those_of_the_process() -> None:
    before = torch.get_num_threads()
    try:
        Compute(device="cpu", threads=2).apply()
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
