#!/usr/bin/env python3
"""Tokens a second of `rondo train` beside a PyTorch script of the same model; char-rnn's default unless told.

    compare_torch.py TEXT [--bin BUILD/bin] [--hidden 128] [--batch 50] [--seq 50] [--layers 2] [--steps 200]
                     [--rounds 5] [--threads 2] [--replicas 1] [--stages 1] [--ddp 0] [--device cpu]
                     [--precision float32]

All sides take turns, so that a noisy machine is noisy for all. The first 20 steps of each run warm caches up and are
not counted. Prints the ratio of the medians first. With --ddp P, PyTorch also runs as P processes of
DistributedDataParallel (Gloo, one thread each), and the ratio is to the better of the two. With --device gpu both sides
run on the GPU; --precision is ours: PyTorch's layers take TF32 from cuDNN unless told otherwise. The Python that runs this script runs PyTorch's.
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
    tokens, first, last = options.batch * options.seq, None, None
    with tempfile.TemporaryDirectory() as folder:
        command = [os.path.join(options.bin, "rondo-train"), "--text", options.text, "--steps",
                   str(options.steps), "--out", os.path.join(folder, "out"), "-o", "json",
                   "--replicas", str(options.replicas), "--stages", str(options.stages),
                   "--device", options.device, "--precision", options.precision] + sizes(options)
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


def sizes(options):
    return [word for name in ("hidden", "batch", "seq", "layers") for word in (f"--{name}", str(getattr(options, name)))]


def torch(options, more):
    out = subprocess.run(
        [sys.executable, os.path.join(HERE, "char_rnn_torch.py"), options.text, "--steps",
         str(options.steps), "--device", "cuda" if options.device == "gpu" else "cpu"] + sizes(options) + more,
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
    parser.add_argument("--hidden", type=int, default=128)
    parser.add_argument("--batch", type=int, default=50)
    parser.add_argument("--seq", type=int, default=50)
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--ddp", type=int, default=0)
    parser.add_argument("--device", choices=["cpu", "gpu"], default="cpu")
    parser.add_argument("--precision", choices=["float32", "tf32", "bf16"], default="float32")
    options = parser.parse_args()
    if options.steps <= WARM:
        parser.error(f"--steps: more than {WARM}, which are not counted")
    ours, theirs, shared = [], [], []
    for _ in range(options.rounds):
        ours.append(rondo(options))
        theirs.append(torch(options, ["--threads", str(options.threads)]))
        if options.ddp:
            shared.append(torch(options, ["--threads", "1", "--ddp", str(options.ddp)]))
    a, b = statistics.median(ours), statistics.median(theirs)
    if shared:
        b = max(b, statistics.median(shared))
    print(f"ratio {a / b:.2f}   rondo {a:,.0f} tokens/s   PyTorch {b:,.0f} tokens/s   "
          f"(medians of {options.rounds} rounds of {options.steps} steps, {options.threads} threads)")
    print("rondo  ", " ".join(f"{x:,.0f}" for x in ours))
    print("PyTorch", " ".join(f"{x:,.0f}" for x in theirs))
    if shared:
        print("DDP    ", " ".join(f"{x:,.0f}" for x in shared))


if __name__ == "__main__":
    main()
