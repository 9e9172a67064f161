#!/usr/bin/env python3
"""Rondo's calls beside Ray's, for the same work, in turns.

    compare_ray.py [--bin BUILD/bin] [--rounds 5] [--seconds 2]

Ray is driven from this Python (its microbenchmark's cases: small_value returns two bytes, actors
reserve no CPU); Rondo by calls_bench. A round measures each case once on either side, Ray's cluster
being down while Rondo runs, so that neither takes the other's cores. Prints the ratio of the medians
first. Needs Ray (bench/peers.sh installs it) and says so where it is missing.
"""

import argparse
import os
import re
import signal
import statistics
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
CASES = {  # calls_bench's name: (unit, more is better)
    "tasks sync": ("/s", True),
    "tasks async, 1000 then get": ("/s", True),
    "1:1 sync": ("/s", True),
    "1:1 async, 1000 then get": ("/s", True),
    "put 800 MiB, GiB": ("/s", True),
    "cluster up and a first task": ("ms", False),
    "kill to next answered call": ("ms", False),
}


def rondo_round(options):
    command = [os.path.join(options.bin, "calls_bench"), "--rounds", "1", "--seconds",
               str(options.seconds), *CASES]
    out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    figures = {}
    for name, (unit, _) in CASES.items():
        found = re.search(rf"^{re.escape(name)}\s+([\d.]+) {unit}", out, re.M)
        if not found:
            sys.exit(f"compare_ray.py: calls_bench printed no line for {name!r}:\n{out}")
        figures[name] = float(found.group(1))
    return figures


def rate(seconds, count, once):
    end = time.perf_counter() + seconds / 2
    while time.perf_counter() < end:
        once()
    done, start = 0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        once()
        done += count
    return done / (time.perf_counter() - start)


def ray_round(ray, numpy, options):
    @ray.remote
    def small_value():
        return b"ok"

    @ray.remote(num_cpus=0, max_restarts=1, max_task_retries=1)
    class Server:
        def small_value(self):
            return b"ok"

        def pid(self):
            return os.getpid()

    figures = {}
    start = time.perf_counter()
    ray.init(num_cpus=os.cpu_count(), include_dashboard=False, logging_level="ERROR",
             log_to_driver=False)
    try:
        ray.get(small_value.remote())
        figures["cluster up and a first task"] = 1e3 * (time.perf_counter() - start)
        s = options.seconds
        figures["tasks sync"] = rate(s, 1, lambda: ray.get(small_value.remote()))
        figures["tasks async, 1000 then get"] = rate(
            s, 1000, lambda: ray.get([small_value.remote() for _ in range(1000)]))
        server = Server.remote()
        ray.get(server.small_value.remote())
        figures["1:1 sync"] = rate(s, 1, lambda: ray.get(server.small_value.remote()))
        figures["1:1 async, 1000 then get"] = rate(
            s, 1000, lambda: ray.get([server.small_value.remote() for _ in range(1000)]))
        large = numpy.zeros(100 << 20, dtype=numpy.float64)
        figures["put 800 MiB, GiB"] = rate(s, 800 / 1024, lambda: ray.put(large))
        pid = ray.get(server.pid.remote())
        start = time.perf_counter()
        os.kill(pid, signal.SIGKILL)
        ray.get(server.small_value.remote())
        figures["kill to next answered call"] = 1e3 * (time.perf_counter() - start)
    finally:
        ray.shutdown()
    return figures


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bin", default=os.path.join(HERE, "..", "..", "build", "release", "bin"))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2)
    options = parser.parse_args()
    try:
        import numpy
        import ray
    except ImportError as error:
        print(f"compare_ray.py: skipped: {error}; bench/peers.sh installs it", file=sys.stderr)
        return 0
    rounds = []
    for number in range(options.rounds):
        rounds.append((rondo_round(options), ray_round(ray, numpy, options)))
        print(f"round {number + 1} of {options.rounds} done", file=sys.stderr)
    print(f"Rondo beside Ray {ray.__version__} (Python), medians of {options.rounds} rounds")
    for name, (unit, more) in CASES.items():
        ours = statistics.median(r[0][name] for r in rounds)
        theirs = statistics.median(r[1][name] for r in rounds)
        ratio = ours / theirs if more else theirs / ours
        print(f"{ratio:8.1f}x   {name:32} Rondo {ours:12,.{1 if ours >= 100 else 3}f} {unit}   "
              f"Ray {theirs:12,.{1 if theirs >= 100 else 3}f} {unit}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
