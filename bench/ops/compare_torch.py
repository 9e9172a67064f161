#!/usr/bin/env python3
"""Recurrent layers against PyTorch's on this machine, rounds interleaved, the ratio first.

    PYTHON bench/ops/compare_torch.py BUILD/bin/ops_bench [--threads 2] [--rounds 5] [--cpu-time]

Forward + backward of two layers, all gradients. A round runs our bench once and PyTorch as often;
the ratio is the median over rounds of (PyTorch's time / ours). --cpu-time compares processor time,
for one thread on a machine that others use too. Without torch it says so and ends with 0.
"""
import argparse
import json
import statistics
import subprocess
import sys
import time

CASES = {
    "lstm_h128_n50": ("LSTM", 128, 50, 50), "lstm_h256_n32": ("LSTM", 256, 64, 32),
    "lstm_h512_n64": ("LSTM", 512, 64, 64), "gru_h128_n50": ("GRU", 128, 50, 50),
    "gru_h256_n32": ("GRU", 256, 64, 32), "gru_h512_n64": ("GRU", 512, 64, 64),
    "tanh_h128_n50": ("RNN", 128, 50, 50), "tanh_h256_n32": ("RNN", 256, 64, 32),
    "tanh_h512_n64": ("RNN", 512, 64, 64),
}


def torch_step(torch, kind, hidden, steps, batch):
    net = getattr(torch.nn, kind)(hidden, hidden, num_layers=2)
    x = torch.rand(steps, batch, hidden, requires_grad=True)
    dy = torch.rand(steps, batch, hidden)

    def step():
        net.zero_grad(set_to_none=True)
        x.grad = None
        y, _ = net(x)
        y.backward(dy)

    return step


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("bench")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--case", action="append", choices=sorted(CASES))
    parser.add_argument("--cpu-time", action="store_true")
    args = parser.parse_args()
    try:
        import torch
    except ImportError:
        print("SKIPPED: this Python has no torch; nothing was compared")
        return 0
    torch.set_num_threads(args.threads)
    clock = time.process_time if args.cpu_time else time.perf_counter
    print(f"PyTorch {torch.__version__}, {args.threads} threads, {args.rounds} rounds")
    for name in args.case or CASES:
        kind, hidden, steps, batch = CASES[name]
        step = torch_step(torch, kind, hidden, steps, batch)
        step()
        ours, theirs = [], []
        for _ in range(args.rounds):
            command = [args.bench, "--json", "--case", name, "--threads", str(args.threads),
                       "--rounds", "3"] + (["--cpu-time"] if args.cpu_time else [])
            ours.append(json.loads(subprocess.check_output(command))["seconds"])
            times = []
            for _ in range(3):
                start = clock()
                step()
                times.append(clock() - start)
            theirs.append(statistics.median(times))
        ratios = [b / a for a, b in zip(ours, theirs)]
        print(f"{statistics.median(ratios):5.2f}x  [{min(ratios):.2f}, {max(ratios):.2f}]"
              f"  {name:16s}  ours {statistics.median(ours) * 1e3:8.2f} ms"
              f"  PyTorch {statistics.median(theirs) * 1e3:8.2f} ms", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
