"""Who may speak classic, by the kernel's tables; the token file and what is refused as one."""

from __future__ import annotations

import stat
import threading
from pathlib import Path

import pytest

from titan_core.protocol.token_file import obtain_token
from titan_core.protocol.trust import Endpoint, Owner, PeerTrust
from titan_sdk.errors import ConfigError

US, ROOT, OTHER = 1000, 0, 1001
HERE, PEER = Endpoint("127.0.0.1", 9090), Endpoint("127.0.0.1", 40000)
HEADER = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
# 127.0.0.1:40000 -> 127.0.0.1:9090, as the kernel of a little-endian machine writes them.
IPV4 = ("0100007F:9C40", "0100007F:2382")
MAPPED = ("0000000000000000FFFF00000100007F:9C40", "0000000000000000FFFF00000100007F:2382")
IPV6 = ("00000000000000000000000001000000:9C40", "00000000000000000000000001000000:2382")


def row(ends: tuple[str, str], uid: int, inode: int = 4711) -> str:
    return f"   0: {ends[0]} {ends[1]} 01 00000000:00000000 00:00000000 00000000 {uid:5} 0 {inode} 1 ffff8880 20 4\n"


def trust(folder: Path, *rows: str, tcp6: tuple[str, ...] = (), insecure: bool = False) -> PeerTrust:
    (folder / "tcp").write_text(HEADER + "".join(rows))
    (folder / "tcp6").write_text(HEADER + "".join(tcp6))
    return PeerTrust(insecure=insecure, find=lambda *_: None, proc_net=folder, uid=US)


@pytest.mark.parametrize(
    ("uid", "owner"), [(US, Owner.TRUSTED), (ROOT, Owner.TRUSTED), (OTHER, Owner.STRANGER), (65534, Owner.STRANGER)]
)
def test_the_owner_of_the_socket_decides(tmp_path: Path, uid: int, owner: Owner) -> None:
    ours = (IPV4[1], IPV4[0])  # the master's own end has the master's uid, and says nothing
    assert trust(tmp_path, row(ours, US), row(IPV4, uid)).owner(HERE, PEER) is owner
    assert trust(tmp_path, tcp6=(row(MAPPED, uid),)).owner(HERE, PEER) is owner
    six = Endpoint("::1", 9090), Endpoint("::1", 40000)
    assert trust(tmp_path, tcp6=(row(IPV6, uid),)).owner(*six) is owner


def test_a_closed_socket_belongs_to_nobody_and_not_to_root(tmp_path: Path) -> None:
    assert trust(tmp_path, row(IPV4, ROOT, inode=0)).owner(HERE, PEER) is Owner.GONE
    assert trust(tmp_path).owner(HERE, PEER) is Owner.GONE


def test_other_connections_say_nothing(tmp_path: Path) -> None:
    elsewhere = row(("0100007F:9C40", "0100007F:2383"), US), row(("0200007F:9C40", "0100007F:2382"), US)
    assert trust(tmp_path, *elsewhere).owner(HERE, PEER) is Owner.GONE
    assert trust(tmp_path, *elsewhere, row(IPV4, OTHER)).owner(HERE, PEER) is Owner.STRANGER


def test_a_peer_of_another_machine_is_a_stranger_unless_the_network_is_trusted(tmp_path: Path) -> None:
    far = Endpoint("192.168.1.7", 40000)
    assert trust(tmp_path).owner(Endpoint("192.168.1.50", 9090), far) is Owner.STRANGER
    assert trust(tmp_path, row(IPV4, OTHER), insecure=True).owner(HERE, PEER) is Owner.TRUSTED
    assert trust(tmp_path, insecure=True).owner(Endpoint("192.168.1.50", 9090), far) is Owner.TRUSTED


def test_where_the_kernel_says_nothing_loopback_is_trusted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    peers = PeerTrust(insecure=False, find=lambda *_: None, proc_net=tmp_path / "none", uid=US)
    assert peers.owner(HERE, PEER) is Owner.TRUSTED
    peers.announce()
    assert "every classic peer on loopback is served" in caplog.text


def test_insecure_is_said_loudly(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    trust(tmp_path).announce()
    assert not caplog.records
    trust(tmp_path, insecure=True).announce()
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "INSECURE" in caplog.text


def test_a_kernel_without_ipv6(tmp_path: Path) -> None:
    peers = trust(tmp_path, row(IPV4, OTHER))
    (tmp_path / "tcp6").unlink()
    assert peers.owner(HERE, PEER) is Owner.STRANGER


# --- the token ------------------------------------------------------------------------------------------------------


def test_a_token_is_made_once_for_this_user_alone(tmp_path: Path) -> None:
    home = tmp_path / "new" / "home"
    token = obtain_token(home)
    assert len(token) >= 32
    assert obtain_token(home) == token
    assert stat.S_IMODE((home / "token").stat().st_mode) == 0o600
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    assert [path.name for path in home.iterdir()] == ["token"]
    assert obtain_token(tmp_path / "other") != token


def test_masters_that_start_at_once_agree(tmp_path: Path) -> None:
    start = threading.Barrier(8)
    tokens: list[str] = []

    def obtain() -> None:
        start.wait()
        tokens.append(obtain_token(tmp_path))

    threads = [threading.Thread(target=obtain) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert len(tokens) == 8 and len(set(tokens)) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["token"]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620])
def test_a_token_that_others_can_reach_is_refused(tmp_path: Path, mode: int) -> None:
    obtain_token(tmp_path)
    (tmp_path / "token").chmod(mode)
    with pytest.raises(ConfigError, match="can be read by others"):
        obtain_token(tmp_path)


def test_what_is_no_token_file_is_refused(tmp_path: Path) -> None:
    token = tmp_path / "token"
    for text in ("", "\n", "ü", "x" * 5000):
        token.write_text(text, encoding="utf-8")
        token.chmod(0o600)
        with pytest.raises(ConfigError, match="holds no token"):
            obtain_token(tmp_path)
    token.rename(tmp_path / "elsewhere")
    token.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConfigError, match="cannot read"):
        obtain_token(tmp_path)
    token.unlink()
    token.mkdir()
    with pytest.raises(ConfigError):
        obtain_token(tmp_path)
    with pytest.raises(ConfigError, match="cannot make the token file"):
        obtain_token(tmp_path / "elsewhere")
