"""A reader finds the old file or the new one, whole, whatever happens to the writer."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from kikiwake import files
from kikiwake.errors import StorageError
from kikiwake.files import content_hash, replace_atomically, text_hash, write_json, write_text


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def run(code: str, path: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=False
    )


def test_a_file_is_written_and_replaced(tmp_path: Path) -> None:
    path = tmp_path / "new" / "deep" / "a.txt"
    write_text(path, "eins\n")
    write_text(path, "zwei ✓\n")
    assert path.read_bytes() == "zwei ✓\n".encode()
    assert names(path.parent) == ["a.txt"]


def test_a_block_that_fails_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "old")

    def fail_half_way() -> None:
        with replace_atomically(path) as temporary:
            temporary.write_text("new but not whole")
            raise RuntimeError("half way")

    with pytest.raises(RuntimeError, match="half way"):
        fail_half_way()
    assert path.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


@pytest.mark.parametrize("moment", ["os.fsync", "Path.replace"])
def test_kill_between_writing_and_renaming_leaves_the_old_file(tmp_path: Path, moment: str) -> None:
    path = tmp_path / "a.json"
    write_json(path, {"state": "old"})
    code = (
        "import os, signal, sys; from pathlib import Path; from kikiwake import files\n"
        f"{moment} = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
        "files.write_json(Path(sys.argv[1]), {'state': 'new'})"
    )
    assert run(code, path).returncode == -signal.SIGKILL
    assert json.loads(path.read_text()) == {"state": "old"}
    write_json(path, {"state": "again"})
    assert json.loads(path.read_text()) == {"state": "again"}


def test_a_reader_never_sees_half_a_file_while_a_writer_is_killed_again_and_again(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "0" * 300_000)
    code = (
        "import sys; from pathlib import Path; from kikiwake import files\n"
        "print(flush=True)\n"
        "while True:\n    for digit in '0123456789': files.write_text(Path(sys.argv[1]), digit * 300_000)"
    )
    for delay in (0.0, 0.003, 0.011, 0.02):
        child = subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE)
        child.stdout.readline()
        killer = threading.Timer(0.1 + delay, child.kill)
        killer.start()
        while child.poll() is None:
            text = path.read_text()
            assert len(text) == 300_000
            assert len(set(text)) == 1
        child.stdout.close()
        text = path.read_text()
        assert len(text) == 300_000
        assert len(set(text)) == 1


def test_data_are_flushed_before_the_rename_and_the_folder_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = []
    fsync, replace = os.fsync, Path.replace

    def watched_fsync(descriptor: int) -> None:
        order.append("folder" if os.path.isdir(f"/proc/self/fd/{descriptor}") else "file")  # noqa: PTH112
        fsync(descriptor)

    def watched_replace(self: Path, target: Path) -> Path:
        order.append("rename")
        return replace(self, target)

    monkeypatch.setattr(files.os, "fsync", watched_fsync)
    monkeypatch.setattr(Path, "replace", watched_replace)
    write_text(tmp_path / "a.txt", "x")
    assert order == ["file", "rename", "folder"]


def test_a_full_disk_is_one_clear_error_and_the_old_file_stays(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "old")
    code = (
        "import resource, signal, sys; from pathlib import Path; from kikiwake import files\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "try: files.write_text(Path(sys.argv[1]), 'x' * 100_000)\n"
        "except files.StorageError as error: print(error)"
    )
    said = run(code, path)
    assert said.stdout.startswith(f"{path}: cannot write: File too large; free some space"), said.stderr
    assert path.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


@pytest.mark.parametrize("fault", [errno.ENOSPC, errno.EIO, errno.EROFS])
def test_a_disk_that_fails_when_flushed_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: int
) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "old")

    def refuse(descriptor: int) -> None:
        raise OSError(fault, os.strerror(fault))

    monkeypatch.setattr(files.os, "fsync", refuse)
    with pytest.raises(StorageError, match=os.strerror(fault)) as caught:
        write_text(path, "new")
    assert caught.value.where == str(path)
    assert path.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


def test_a_folder_that_cannot_be_flushed_is_no_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fsync = os.fsync

    def network_folder(descriptor: int) -> None:
        if os.path.isdir(f"/proc/self/fd/{descriptor}"):  # noqa: PTH112
            raise OSError(errno.EINVAL, "Invalid argument")
        fsync(descriptor)

    monkeypatch.setattr(files.os, "fsync", network_folder)
    write_text(tmp_path / "a.txt", "x")
    assert (tmp_path / "a.txt").read_text() == "x"


def test_a_file_in_the_way_of_the_folder_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("in the way")
    with pytest.raises(StorageError, match="cannot write"):
        write_text(tmp_path / "run" / "log.txt", "x")


def test_a_name_as_long_as_the_system_allows_can_be_written(tmp_path: Path) -> None:
    path = tmp_path / ("a" * 255)
    write_text(path, "x")
    assert path.read_text() == "x"


def test_threads_that_write_the_same_file_do_not_mix(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    texts = [str(number) * 100_000 for number in range(6)]
    threads = [threading.Thread(target=write_text, args=(path, text)) for text in texts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert path.read_text() in texts
    assert names(tmp_path) == ["a.txt"]


def test_json_with_nan_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "a.json", {"loss": float("nan")})
    assert names(tmp_path) == []


def test_hashes_are_blake2b_160(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"kikiwake" * 500_000)
    peer = subprocess.run(["b2sum", "-l", "160", str(path)], capture_output=True, text=True, check=False)
    if peer.returncode == 0:
        assert content_hash(path) == peer.stdout.split()[0]
    assert content_hash(path) == text_hash("kikiwake" * 500_000)
    assert len(content_hash(path)) == 40
    path.write_bytes(b"")
    assert content_hash(path) == text_hash("")
