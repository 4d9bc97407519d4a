from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from proxy.observe.line_writer import LineWriter


def wait_until(is_true: Callable[[], bool], timeout_s: float = 5.0) -> None:
    give_up_at = time.monotonic() + timeout_s
    while not is_true():
        assert time.monotonic() < give_up_at, "it did not happen"
        time.sleep(0.005)


def writer_to(path: Path | str, **options: object) -> LineWriter:
    writer = LineWriter(str(path), period_s=0.01, **options)  # type: ignore[arg-type]
    writer.start()
    return writer


def test_lines_arrive_whole_and_in_order(tmp_path: Path) -> None:
    writer = writer_to(tmp_path / "log")
    lines = [b"line %d\n" % number for number in range(3000)]
    for line in lines:
        writer.write(line)
    assert writer.stop() == 0
    assert (tmp_path / "log").read_bytes() == b"".join(lines)
    assert (writer.written, writer.dropped, writer.failed) == (3000, 0, 0)


def test_a_line_is_on_disk_soon_without_a_stop(tmp_path: Path) -> None:
    writer = writer_to(tmp_path / "log")
    writer.write(b"now\n")
    wait_until(lambda: (tmp_path / "log").read_bytes() == b"now\n")
    writer.stop()


def test_an_existing_file_is_appended_to(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b"before\n")
    writer = writer_to(tmp_path / "log")
    writer.write(b"after\n")
    writer.stop()
    assert (tmp_path / "log").read_bytes() == b"before\nafter\n"


def test_a_file_that_cannot_be_opened_is_an_error_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        writer_to(tmp_path / "missing" / "log")


def test_a_stalled_pipe_drops_and_counts_and_never_blocks(stalled_pipe: str) -> None:
    writer = writer_to(stalled_pipe, capacity=100)
    line = b"x" * 1000 + b"\n"
    begun_at = time.monotonic()
    for _ in range(20_000):  # 20 MB into a pipe that takes 64 KiB
        writer.write(line)
    assert time.monotonic() - begun_at < 2.0
    assert writer.dropped > 19_000
    begun_at = time.monotonic()
    lost = writer.stop(0.3)
    assert time.monotonic() - begun_at < 1.0
    assert lost > 0
    assert writer.written + writer.dropped + writer.failed == 20_000


def test_a_reader_that_comes_back_gets_whole_lines(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    writer = writer_to(tmp_path / "pipe", capacity=50)
    line = b"y" * 5000 + b"\n"
    for _ in range(200):
        writer.write(line)
    wait_until(lambda: writer.dropped > 0)
    received = b""
    os.set_blocking(reader, True)
    while len(received) < 6 * len(line):
        received += os.read(reader, 1 << 16)
    writer.stop(0.2)
    os.close(reader)
    lines = received.split(b"\n")
    assert {len(part) for part in lines[:-1]} == {5000}


def test_a_closed_pipe_costs_lines_only_and_is_told_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    told: list[str] = []
    writer = writer_to(tmp_path / "pipe", on_failure=told.append)
    os.close(reader)
    for _ in range(10):
        writer.write(b"gone\n")
        time.sleep(0.005)
    wait_until(lambda: writer.failed == 10)
    writer.stop()
    assert told == ["Broken pipe"]
    assert writer.written == 0


def test_a_fifo_without_a_reader_is_refused_instead_of_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="No such device"):
        writer_to(tmp_path / "pipe")


def test_a_full_disk_costs_lines_only_and_a_torn_one_swallows_no_other(tmp_path: Path) -> None:
    told: list[str] = []
    path = tmp_path / "log"
    writer = LineWriter(str(path), period_s=10.0, capacity=100, on_failure=told.append)
    writer.start()
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limit[1]))  # the "disk" takes 1000 bytes
    try:
        for _ in range(50):
            writer.write(b"a" * 299 + b"\n")
        wait_until(lambda: writer.failed > 0)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert (writer.written, writer.failed) == (3, 47)
    assert told == ["File too large"]
    writer.write(b"whole\n")
    writer.stop()
    assert path.read_bytes().split(b"\n") == [b"a" * 299] * 3 + [b"a" * 100, b"whole", b""]


def test_reopening_follows_a_rotation_and_loses_nothing(tmp_path: Path) -> None:
    log, old = tmp_path / "log", tmp_path / "log.1"
    writer = writer_to(log)
    count = 0

    def write_one() -> None:
        nonlocal count
        writer.write(b"%d\n" % count)
        count += 1

    for _ in range(250):
        write_one()
    log.rename(old)
    writer.reopen()
    while log.stat().st_size == 0:
        write_one()
        time.sleep(0.001)
    writer.stop()
    numbers = [int(line) for line in old.read_bytes().split() + log.read_bytes().split()]
    assert numbers == list(range(count))
    assert old.stat().st_size > 0


def test_what_was_queued_before_a_reopening_goes_to_the_old_file(tmp_path: Path) -> None:
    writer = LineWriter(str(tmp_path / "a"), period_s=10.0)
    writer.start()
    writer.write(b"1\n")
    writer.reopen(str(tmp_path / "b"))
    wait_until(lambda: (tmp_path / "a").read_bytes() == b"1\n")
    writer.write(b"2\n")  # the thread has written the first line, and may still be about to change over
    writer.stop()
    assert (tmp_path / "a").read_bytes() + (tmp_path / "b").read_bytes() == b"1\n2\n"


def test_what_is_written_after_the_change_goes_to_the_new_file(tmp_path: Path) -> None:
    writer = writer_to(tmp_path / "a")
    writer.reopen(str(tmp_path / "b"))

    def has_changed() -> bool:
        writer.write(b"1\n")
        return (tmp_path / "b").stat().st_size > 0

    wait_until(has_changed)
    before = (tmp_path / "a").read_bytes()
    writer.write(b"2\n")
    writer.stop()
    assert (tmp_path / "a").read_bytes() == before
    assert (tmp_path / "b").read_bytes().endswith(b"1\n2\n")


def test_a_stalled_target_can_be_left_for_another(stalled_pipe: str, tmp_path: Path) -> None:
    writer = writer_to(stalled_pipe, capacity=1000)
    for _ in range(1000):
        writer.write(b"x" * 1000 + b"\n")
    writer.reopen(str(tmp_path / "log"))
    wait_until(lambda: len(writer) == 0)
    writer.write(b"moved on\n")
    writer.stop()
    lines = (tmp_path / "log").read_bytes().splitlines()
    assert lines[-1] == b"moved on"
    assert len(lines) > 500  # what was still queued came along
    assert writer.failed <= 256


def test_a_reopening_that_fails_keeps_the_old_file(tmp_path: Path) -> None:
    writer = writer_to(tmp_path / "log")
    with pytest.raises(FileNotFoundError):
        writer.reopen(str(tmp_path / "missing" / "log"))
    writer.write(b"still here\n")
    writer.stop()
    assert (tmp_path / "log").read_bytes() == b"still here\n"


def test_many_reopenings_leak_no_descriptor(tmp_path: Path) -> None:
    writer = writer_to(tmp_path / "log")
    before = len(os.listdir("/proc/self/fd")) if sys.platform == "linux" else 0
    for _ in range(50):
        writer.reopen()
    writer.stop()
    assert not before or len(os.listdir("/proc/self/fd")) < before


def test_a_stop_before_a_start_does_nothing() -> None:
    assert LineWriter("-").stop() == 0


def test_half_a_full_queue_wakes_the_thread_early(tmp_path: Path) -> None:
    writer = LineWriter(str(tmp_path / "log"), capacity=10, period_s=60.0)
    writer.start()
    for _ in range(5):
        writer.write(b"x\n")
    wait_until(lambda: writer.written == 5)
    writer.stop()


SCRIPT = """
import sys
from proxy.observe.line_writer import LineWriter
writer = LineWriter("-", capacity=1000)
writer.start()
for _ in range(100000):
    writer.write(b"x" * 200 + b"\\n")
lost = writer.stop(0.3)
assert writer.written + writer.dropped + writer.failed == 100000
assert lost
print("still alive", file=sys.stderr, flush=True)
"""


@pytest.mark.parametrize("is_closed", [False, True], ids=["nobody reads", "the reader left"])
def test_standard_output_that_nobody_reads_never_stops_the_process(is_closed: bool) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT], stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=Path(__file__).parents[2]
    )
    assert process.stdout is not None
    assert process.stderr is not None
    if is_closed:
        process.stdout.close()
    try:
        process.wait(timeout=20)
        assert process.stderr.read() == b"still alive\n"
        assert process.returncode == 0
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            process.wait()
        process.stderr.close()
        process.stdout.close()
