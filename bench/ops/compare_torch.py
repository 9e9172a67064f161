#!/usr/bin/env python3
"""Every CPU op against its roof and against PyTorch, in one run on this machine; the ratio first.

    PYTHON bench/ops/compare_torch.py BUILD/bin [--threads 2] [--rounds 5] [--case NAME]
                                      [--cpu-time] [--table FILE]

Three parts: recurrent layers (two layers, T 64, forward + backward with all gradients), ops that
live on memory bandwidth and products, and min layers against their own loop. A round runs our
bench once and PyTorch as often; a ratio is the median over rounds of (PyTorch's time / ours). The
roof of products is the best of libxsmm, OpenBLAS (with each core type that may fit), oneDNN and
PyTorch's own product at 2048^3; that of the others c = a + b over large arrays. Both are measured
before and after, since machines that others use too change their speed.
--cpu-time compares processor time: for one thread on a busy machine. Without torch it says so and
ends with 0. --table writes the tables as Markdown.
"""
import argparse
import json
import os
import statistics
import subprocess
import sys
import time

SIZES = {"h128_n50": (128, 50, 50), "h256_n32": (256, 64, 32), "h512_n64": (512, 64, 64),
         "h1024_n64": (1024, 64, 64)}
CELLS = {"lstm": "LSTM", "gru": "GRU", "tanh": "RNN"}
CASES = {f"{cell}_{size}": (kind, *SIZES[size]) for cell, kind in CELLS.items() for size in SIZES}
ROWS, WIDTH, INPUTS, OUTPUTS = 4096, 2048, 512, 512   # as in stream_bench.cc


def torch_layer(torch, kind, hidden, steps, batch):
    net = getattr(torch.nn, kind)(hidden, hidden, num_layers=2)
    x = torch.rand(steps, batch, hidden, requires_grad=True)
    dy = torch.rand(steps, batch, hidden)

    def step():
        net.zero_grad(set_to_none=True)
        x.grad = None
        y, _ = net(x)
        y.backward(dy)

    return step


def torch_ops(torch):
    """What PyTorch does for the lines of ops_stream_bench; scans have no counterpart."""
    f = torch.nn.functional
    x, dy = torch.rand(ROWS, WIDTH, requires_grad=True), torch.rand(ROWS, WIDTH)
    plain, target = x.detach(), torch.rand(ROWS, WIDTH)
    weight = torch.rand(WIDTH, requires_grad=True)
    bias = torch.rand(WIDTH, requires_grad=True)
    ids = torch.arange(ROWS) * 31 % WIDTH
    table = torch.rand(WIDTH, WIDTH, requires_grad=True)
    normal, looked = f.layer_norm(x, [WIDTH], weight, bias), f.embedding(ids, table)
    a, da = torch.rand(ROWS, INPUTS, requires_grad=True), torch.rand(ROWS, OUTPUTS)
    w = torch.rand(OUTPUTS, INPUTS, requires_grad=True)
    b = torch.rand(OUTPUTS, requires_grad=True)
    product = f.linear(a, w, b)
    grad = torch.autograd.grad

    def optimizer(make):
        parameter = torch.rand(ROWS, WIDTH, requires_grad=True)
        parameter.grad = torch.rand(ROWS, WIDTH)
        return make([parameter]).step

    def quiet(body):
        def run():
            with torch.no_grad():
                body()
        return run

    return {
        "layer_norm": quiet(lambda: f.layer_norm(plain, [WIDTH], weight, bias)),
        "layer_norm_backward": lambda: grad(normal, [x, weight, bias], dy, retain_graph=True),
        "dropout": quiet(lambda: f.dropout(plain, 0.3)),
        "not_finite": quiet(lambda: bool(torch.isfinite(plain).all())),
        "squared_norm": quiet(lambda: float(torch.linalg.vector_norm(plain))),
        "cross_entropy": lambda: grad(f.cross_entropy(x, ids), [x]),
        "squared_error": lambda: grad(f.mse_loss(x, target), [x]),
        "embedding": quiet(lambda: f.embedding(ids, table)),
        "embedding_backward": lambda: grad(looked, [table], dy, retain_graph=True),
        "sgd": optimizer(lambda p: torch.optim.SGD(p, 1e-3)),
        "rmsprop": optimizer(lambda p: torch.optim.RMSprop(p, 1e-3)),
        "adam": optimizer(lambda p: torch.optim.Adam(p, 1e-3, fused=True)),
        "linear": quiet(lambda: f.linear(a, w, b)),
        "linear_backward": lambda: grad(product, [a, w, b], da, retain_graph=True),
    }


class Run:
    def __init__(self, torch, args):
        self.torch, self.args = torch, args
        self.clock = time.process_time if args.cpu_time else time.perf_counter
        self.extra = ["--cpu-time"] if args.cpu_time else []
        self.lines = []

    def say(self, text, row=None):
        print(text, flush=True)
        self.lines.append(row if row is not None else text)

    def bench(self, program, *flags, env=None):
        command = [os.path.join(self.args.bin, program), "--threads", str(self.args.threads),
                   *flags, *self.extra]
        out = subprocess.check_output(command, env=env, text=True)
        return [json.loads(line) for line in out.splitlines()]

    def timed(self, body, times=3):
        seconds = []
        for _ in range(times):
            start = self.clock()
            body()
            seconds.append(self.clock() - start)
        return statistics.median(seconds)

    def roofs(self):
        """GFLOP/s of each library at 2048^3."""
        torch, n = self.torch, 2048
        found = {}
        for core in ("", "SkylakeX", "Haswell", "Zen"):
            env = dict(os.environ, **({"OPENBLAS_CORETYPE": core} if core else {}))
            try:
                figures = self.bench("ops_bench", "--roof", env=env)[0]
            except (subprocess.CalledProcessError, json.JSONDecodeError, IndexError):
                continue   # a core type that this processor cannot run
            found["libxsmm"] = max(found.get("libxsmm", 0), figures["libxsmm"])
            found["OpenBLAS"] = max(found.get("OpenBLAS", 0), figures["OpenBLAS"])
        a, b = torch.rand(n, n), torch.rand(n, n)
        with torch.no_grad():
            candidates = {"PyTorch": lambda: torch.mm(a, b)}
            if torch.backends.mkldnn.is_available():
                one, two = a.to_mkldnn(), b.to_mkldnn()
                candidates["oneDNN"] = lambda: torch._C._nn.mkldnn_linear(one, two)
            for name, body in candidates.items():
                try:
                    body()
                    best = min(self.timed(body, 1) for _ in range(5))
                    found[name] = 2 * n ** 3 / best * 1e-9
                except RuntimeError:
                    continue
        return found

    def layers(self, roof):
        self.say("\nratio  [of rounds]   case             ours ms  PyTorch ms   GFLOP/s  of the roof",
                 "\n| case | ratio to PyTorch | ours, ms | PyTorch, ms | GFLOP/s | share of the roof |"
                 "\n|---|---|---|---|---|---|")
        for name, shape in CASES.items():
            if self.args.case and name not in self.args.case:
                continue
            step = torch_layer(self.torch, *shape)
            step()
            ours, theirs, rates = [], [], []
            for _ in range(self.args.rounds):
                time.sleep(0.3)   # PyTorch's threads spin on after their last product
                figure = self.bench("ops_bench", "--json", "--case", name, "--rounds", "3")[0]
                ours.append(figure["seconds"])
                rates.append(figure["gflops"])
                theirs.append(self.timed(step))
            ratios = [b / a for a, b in zip(ours, theirs)]
            ratio, rate = statistics.median(ratios), statistics.median(rates)
            mine, other = statistics.median(ours) * 1e3, statistics.median(theirs) * 1e3
            self.say(f"{ratio:5.2f}x [{min(ratios):.2f}, {max(ratios):.2f}]  {name:16s}"
                     f" {mine:8.2f}  {other:8.2f}  {rate:9.1f}   {rate / roof:.2f}",
                     f"| {name} | {ratio:.2f}x [{min(ratios):.2f}, {max(ratios):.2f}] | {mine:.2f} |"
                     f" {other:.2f} | {rate:.1f} | {rate / roof:.2f} |")

    def other_ops(self, roof):
        theirs, ours = torch_ops(self.torch), {}
        times = {name: [] for name in theirs}
        for body in theirs.values():
            body()
        for _ in range(self.args.rounds):
            for figure in self.bench("ops_stream_bench", "--json", "--rounds", "3"):
                ours.setdefault(figure["case"], []).append(figure)
            for name, body in theirs.items():
                times[name].append(self.timed(body))
        self.say("\nratio to PyTorch  op                       rate            of the roof",
                 "\n| op | ratio to PyTorch (min layers: to their loop) | rate | of the roof |"
                 "\n|---|---|---|---|")
        for name, figures in ours.items():
            seconds = [figure["seconds"] for figure in figures]
            mine = statistics.median(seconds)
            ratio, rate, share = "", f"{mine * 1e3:8.2f} ms", ""
            if name in times:
                ratio = f"{statistics.median(b / a for a, b in zip(seconds, times[name])):.2f}x"
            first = figures[0]
            if "loop_seconds" in first:
                loop = statistics.median(f["loop_seconds"] / f["seconds"] for f in figures)
                ratio = f"{loop:.2f}x its loop"
            elif first["bytes"] > 0:
                rate = f"{first['bytes'] / mine * 1e-9:6.1f} GB/s"
                share = statistics.median(
                    f["bytes"] / f["seconds"] / f["roof_bytes_a_second"] for f in figures)
                share = f"{share:.2f}"
            elif first["flops"] > 0:
                rate = f"{first['flops'] / mine * 1e-9:6.1f} GFLOP/s"
                share = f"{first['flops'] / mine * 1e-9 / roof:.2f}"
            self.say(f"{ratio:>16s}  {name:24s} {rate:>15s}  {share}",
                     f"| {name} | {ratio or '(none)'} | {rate.strip()} | {share} |")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("bin")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--case", action="append", choices=sorted(CASES))
    parser.add_argument("--cpu-time", action="store_true")
    parser.add_argument("--table")
    args = parser.parse_args()
    try:
        import torch
    except ImportError:
        print("SKIPPED: this Python has no torch; nothing was compared")
        return 0
    torch.set_num_threads(args.threads)
    run = Run(torch, args)
    clock = "processor" if args.cpu_time else "wall"
    run.say(f"PyTorch {torch.__version__}, {args.threads} threads, {args.rounds} rounds, {clock} "
            f"time, load before: {os.getloadavg()[0]:.1f}")
    before = run.roofs()
    roof = max(before.values())
    run.say("roof at 2048^3, GFLOP/s: " + ", ".join(f"{k} {v:.1f}" for k, v in before.items()))
    run.layers(roof)
    if not args.case:
        run.other_ops(roof)
    after = run.roofs()
    run.say("\nroof afterwards: " + ", ".join(f"{k} {v:.1f}" for k, v in after.items()) +
            f"; load {os.getloadavg()[0]:.1f}")
    if args.table:
        with open(args.table, "w", encoding="utf-8") as out:
            out.write("\n".join(run.lines) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
