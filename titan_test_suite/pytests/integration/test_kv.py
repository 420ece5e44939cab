"""The key-value store of a real master: contended, killed in between, and shown on the command line."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest

from titan_sdk.client import TitanClient
from titan_sdk.errors import BadRequest, Conflict, ConnectFailed
from titan_test_suite.pytests.cluster import ROOT, Cluster, wait_until

T = TypeVar("T")

CLIENTS = 16
STEPS = 25


def client_of(cluster: Cluster) -> TitanClient:
    return TitanClient("127.0.0.1", cluster.port, token=cluster.token, timeout=60.0)


def though_away(change: Callable[[], T]) -> T:
    """Who finds no master when it begins is told at once, and that nothing was done; here it is about to come back."""
    end = time.monotonic() + 60
    while True:
        try:
            return change()
        except ConnectFailed:
            if time.monotonic() > end:
                raise


def test_nothing_is_lost_or_done_twice_when_the_master_is_killed_under_sixteen_clients(cluster: Cluster) -> None:
    """Each client adds to a counter by compare-and-set and by increment, and pushes; the master dies in between."""
    master = cluster.start_master()
    reached = threading.Barrier(CLIENTS + 1)
    problems: list[BaseException] = []

    def work(number: int) -> None:
        try:
            with client_of(cluster) as client:
                kv = client.kv
                for step in range(STEPS):
                    while True:
                        old = though_away(lambda: kv.get("cas"))
                        new = str(int(old or b"0") + 1)
                        if though_away(lambda old=old, new=new: kv.compare_and_set("cas", old, new)):  # type: ignore[misc]
                            break
                    though_away(lambda: kv.increment("counter"))
                    though_away(lambda step=step: kv.push("list", f"{number}/{step}"))  # type: ignore[misc]
                    if step == 5:
                        reached.wait(60)
        except BaseException as error:
            problems.append(error)
            reached.abort()

    threads = [threading.Thread(target=work, args=(number,), name=f"client-{number}") for number in range(CLIENTS)]
    for thread in threads:
        thread.start()
    reached.wait(60)
    master.kill()
    cluster.start_master()
    for thread in threads:
        thread.join(120)
    assert not problems and not any(thread.is_alive() for thread in threads)
    with client_of(cluster) as looking:
        expected = CLIENTS * STEPS
        assert (looking.kv["cas"], looking.kv["counter"]) == (b"%d" % expected, b"%d" % expected)
        items = looking.kv.range("list")
        assert len(items) == expected and set(items) == {
            b"%d/%d" % (n, s) for n in range(CLIENTS) for s in range(STEPS)
        }


def test_the_mapping_sets_lists_and_time_to_live(cluster: Cluster) -> None:
    cluster.start_master()
    with client_of(cluster) as client:
        kv = client.kv
        kv["grün/1"] = "ä"
        kv["grün/2"] = b"\x00\xff"
        assert list(kv.keys("grün/")) == ["grün/1", "grün/2"] and kv["grün/1"] == "ä".encode() and "grün/2" in kv
        del kv["grün/1"]
        with pytest.raises(KeyError):
            kv["grün/1"]
        assert kv.create("lock", "me", ttl=3600) and not kv.create("lock", "you", ttl=3600)
        assert not kv.delete_if("lock", "you") and kv.delete_if("lock", "me")
        many = [f"m{n}" for n in range(6000)]
        assert kv.add("set", *many) == 6000 and kv.members("set") == set(many) and kv.remove("set", "m0", "x") == 1
        numbers = [b"%d" % n for n in range(1500)]
        assert kv.push("list", *numbers) == 1500
        assert kv.range("list") == numbers and kv.range("list", -3) == numbers[-3:]
        assert kv.range("list", 10, -10) == numbers[10:-10] and kv.range("list", 5, 2) == []
        assert kv.pop("list", left=True) == b"0" and kv.length("list") == 1499
        with pytest.raises(Conflict, match="list holds a list, not a value"):
            kv.increment("list")
        with pytest.raises(BadRequest, match="1 to 1024 bytes"):
            kv.set("k" * 1025, "")
        with pytest.raises(BadRequest, match="over the limit of 8388608"):
            kv.set("k", bytes((8 << 20) + 1))
        with pytest.raises(ValueError, match="more than 0 seconds"):
            kv.set("k", "", ttl=-1)
        with pytest.raises(ValueError, match="a century at most"):
            kv.expire("k", float("inf"))
        kv.set("soon", "gone", ttl=0.2)
        wait_until(lambda: "soon" not in kv, 30)


def test_what_expires_is_removed_from_the_disk_and_keeps_its_time_over_a_restart(cluster: Cluster) -> None:
    master = cluster.start_master()
    with client_of(cluster) as client:
        client.kv.set("long", "x", ttl=3600)
        client.kv.set("short", "x", ttl=0.5)
        entry = client.kv.entry("long")
        assert entry is not None
        end = entry.expires_at
    master.kill()
    cluster.start_master()
    with client_of(cluster) as client:
        found = client.kv.entry("long")
        assert found is not None and found.expires_at == end

    def on_disk() -> int:
        with contextlib.closing(sqlite3.connect(f"file:{cluster.data_dir / 'titan.db'}?mode=ro", uri=True)) as db:
            return int(db.execute("SELECT count(*) FROM kv").fetchone()[0])

    wait_until(lambda: on_disk() == 1, 60, "the expired key to be deleted")


def test_the_command(cluster: Cluster, tmp_path: Path) -> None:
    cluster.start_master()

    def kv(*words: str) -> subprocess.CompletedProcess[bytes]:
        argv = [sys.executable, str(ROOT / "titan_core/TitanCli.py"), "--port", str(cluster.port), "kv", *words]
        return subprocess.run(argv, capture_output=True, timeout=60, env=cluster.environment(), check=False)

    assert kv("set", "k", "grün", "--ttl", "100").returncode == 0
    assert kv("get", "k").stdout == "grün".encode()
    assert kv("create", "k", "x").returncode == 1 and b"k is there already" in kv("create", "k", "x").stderr
    assert kv("cas", "k", "grün", "rot").returncode == 0 and kv("cas", "k", "grün", "rot").returncode == 1
    assert kv("incr", "n", "-5").stdout == b"-5\n"
    assert kv("push", "l", "a", "b").stdout == b"2\n" and kv("range", "l").stdout == b"a\nb\n"
    assert kv("add", "s", "m").stdout == b"1\n" and json.loads(kv("members", "s", "--json").stdout) == ["m"]
    listed = json.loads(kv("keys", "--json").stdout)
    assert [(each["key"], each["kind"], each["size"]) for each in listed] == [
        ("k", "value", 3), ("l", "list", 2), ("n", "value", 2), ("s", "set", 1),
    ]  # fmt: skip
    kv("set", "titan-task/run-1/f/1", "x")
    assert kv("keys").stdout.decode().splitlines()[1:] == [
        "l  list of 2 items", "n  value of 2 bytes", "s  set of 1 member",
        "and 1 result of Python functions, under titan-task/",
    ]  # fmt: skip
    assert kv("keys", "titan-task/").stdout == b"titan-task/run-1/f/1  value of 1 byte\n"
    assert kv("del", "k").returncode == 0 and kv("get", "k").returncode == 1
    assert kv("set", "k").returncode == 2
