#!/usr/bin/env python3
"""Tokens a second of `rondo train` at char-rnn's default beside a PyTorch script of the same model.

    compare_torch.py TEXT [--bin BUILD/bin] [--steps 200] [--rounds 5] [--threads 2] [--replicas 1] [--stages 1]

The two take turns, so that a noisy machine is noisy for both. The first 20 steps of each run warm caches up and are not
counted. Prints the ratio of the medians first. The Python that runs this script runs PyTorch's.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
WARM = 20


def rondo(options):
    tokens, first, last = 50 * 50, None, None
    with tempfile.TemporaryDirectory() as folder:
        command = [os.path.join(options.bin, "rondo-train"), "--text", options.text, "--steps",
                   str(options.steps), "--out", os.path.join(folder, "out"), "-o", "json",
                   "--replicas", str(options.replicas), "--stages", str(options.stages)]
        if options.replicas * options.stages == 1:
            command += ["--threads", str(options.threads)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        for line in process.stdout:
            event = json.loads(line)
            if event["event"] == "step" and event["step"] == WARM:
                first = time.monotonic()
            if event["event"] == "step" and event["step"] == options.steps:
                last = time.monotonic()
        if process.wait() != 0:
            sys.exit("rondo-train failed")
    return (options.steps - WARM) * tokens / (last - first)


def torch(options):
    out = subprocess.run(
        [sys.executable, os.path.join(HERE, "char_rnn_torch.py"), options.text, "--steps",
         str(options.steps), "--threads", str(options.threads)],
        check=True, capture_output=True, text=True).stdout
    return json.loads(out.splitlines()[-1])["tokens_per_s"]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("text")
    parser.add_argument("--bin", default=os.path.join(HERE, "..", "..", "build", "bin"))
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--replicas", type=int, default=1)
    parser.add_argument("--stages", type=int, default=1)
    options = parser.parse_args()
    ours, theirs = [], []
    for _ in range(options.rounds):
        ours.append(rondo(options))
        theirs.append(torch(options))
    a, b = statistics.median(ours), statistics.median(theirs)
    print(f"ratio {a / b:.2f}   rondo {a:,.0f} tokens/s   PyTorch {b:,.0f} tokens/s   "
          f"(medians of {options.rounds} rounds of {options.steps} steps, {options.threads} threads)")
    print("rondo  ", " ".join(f"{x:,.0f}" for x in ours))
    print("PyTorch", " ".join(f"{x:,.0f}" for x in theirs))


if __name__ == "__main__":
    main()
