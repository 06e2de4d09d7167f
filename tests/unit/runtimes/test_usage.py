"""Processor time and memory of real processes."""

import os
import subprocess
import sys

from modelyard.runtimes.usage import machine_memory_bytes, usage

BUSY = """
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", '''
data = bytearray(64 << 20)
data[::4096] = b"x" * len(data[::4096])
total = sum(range(20_000_000))
print(flush=True)
input()
'''], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
child.stdout.readline()
print(flush=True)
input()
child.communicate(b"\\n")
"""


def test_what_a_process_has_started_counts_too() -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", BUSY], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    process.stdout.readline()
    found = usage(process.pid)
    process.communicate(b"\n")
    assert found is not None
    assert found.memory_bytes > 64 << 20
    assert found.cpu_seconds > 0.05
    assert usage(process.pid) is None


def test_the_machine_has_more_memory_than_this_process() -> None:
    own = usage(os.getpid())
    assert own is not None
    assert 0 < own.memory_bytes < machine_memory_bytes()
