#!/usr/bin/env python3
"""Sums of two processes' float32, beside Open MPI, Gloo and one memcpy, in turns.

  PYTHON bench/collective/compare.py path/to/collective_bench [--rounds 5]

PYTHON is the one that bench/peers.sh prints. Each round runs Rondo, Open MPI (mpi4py) and Gloo
(PyTorch) once, so that all see the same disturbances; the figures are medians over the rounds, and
in brackets of the quietest round of each. A peer that is missing is named and left out. Ratios come
first: how many memcpys of the same bytes a sum takes, and how much longer the peers take.
"""
import argparse
import os
import statistics
import subprocess
import sys
import time

SIZES = [1 << 10, 4 << 10, 64 << 10, 256 << 10, 1 << 20, 4 << 20, 16 << 20, 64 << 20]


def times_for(size):
    return max(3, min(2000, (24 << 20) // size))


def timed(call, times):
    call()
    began = time.perf_counter()
    for _ in range(times):
        call()
    return (time.perf_counter() - began) / times * 1e6


def run_mpi():
    import numpy
    from mpi4py import MPI
    world = MPI.COMM_WORLD
    for size in SIZES:
        mine = numpy.ones(size // 4, dtype=numpy.float32)
        out = numpy.empty_like(mine)
        world.Barrier()
        took = timed(lambda: world.Allreduce(mine, out), times_for(size))
        if world.rank == 0:
            print("mpi", size, took, flush=True)


def run_gloo(rank, folder):
    import torch
    import torch.distributed as dist
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/gloo", rank=rank, world_size=2)
    for size in SIZES:
        group = dist.new_group([0, 1])  # it slows down after thousands of small calls on one pair
        data = torch.zeros(size // 4)
        dist.barrier(group)
        took = timed(lambda: dist.all_reduce(data, group=group), min(200, times_for(size)))
        if rank == 0:
            print("gloo", size, took, flush=True)
    dist.destroy_process_group()


def lines_of(command, found, **options):
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, **options)
    if done.returncode != 0:
        raise RuntimeError((done.stderr.strip().splitlines() or ["no word"])[-1])
    for line in done.stdout.splitlines():
        way, size, took = line.split()
        found.setdefault((way, int(size)), []).append(float(took))


def rondo_round(bench, found):
    lines_of([bench, "--rounds", "1"], found)


def mpi_round(found):
    mpirun = os.path.join(os.path.dirname(sys.executable), "mpirun")
    lines_of([mpirun if os.path.exists(mpirun) else "mpirun", "--allow-run-as-root", "-n", "2",
              "--bind-to", "none", "--oversubscribe", sys.executable, __file__, "--as-mpi"], found)


def gloo_round(found):
    import tempfile
    with tempfile.TemporaryDirectory() as folder:
        me = [sys.executable, __file__, "--as-gloo"]
        other = subprocess.Popen(me + ["1", folder], stdout=subprocess.DEVNULL,
                                 stderr=subprocess.DEVNULL)
        try:
            lines_of(me + ["0", folder], found)
        finally:
            other.kill()  # done, or waiting for a rank 0 that failed
            other.wait()


def measure(bench, rounds):
    found = {}
    peers = {"Open MPI": mpi_round, "Gloo": gloo_round}
    for _ in range(rounds):
        rondo_round(bench, found)
        for name, peer in list(peers.items()):
            try:
                peer(found)
            except (RuntimeError, OSError, subprocess.TimeoutExpired) as error:
                print(f"{name} is left out: {error}", file=sys.stderr)
                del peers[name]
    return found


def print_table(found):
    for kind, of in (("medians", statistics.median), ("quietest rounds", min)):
        def us(way, size):
            return of(found[way, size]) if (way, size) in found else float("nan")
        if kind == "medians":
            print(f"cache line to the other core and back: {us('distance', 0) * 1000:.0f} ns")
        print(f"\n{kind}: ratio to memcpy | Open MPI, Gloo to shm | Gloo to zmq || microseconds: "
              "shm, shm-private, zmq, memcpy, Open MPI, Gloo")
        for size in SIZES:
            shm, private, zmq, copy, mpi, gloo = (
                us(way, size) for way in ("shm", "shm-private", "zmq", "memcpy", "mpi", "gloo"))
            small = min(shm, private)
            print(f"{size >> 10:>6} KiB  {shm / copy:7.2f} | {mpi / small:7.1f} {gloo / small:8.1f} | "
                  f"{gloo / zmq:6.1f} || {shm:10.2f} {private:10.2f} {zmq:10.1f} {copy:10.2f} "
                  f"{mpi:10.1f} {gloo:10.1f}")


def main():
    if "--as-mpi" in sys.argv:
        return run_mpi()
    if "--as-gloo" in sys.argv:
        return run_gloo(int(sys.argv[2]), sys.argv[3])
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bench")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    print_table(measure(options.bench, options.rounds))


if __name__ == "__main__":
    main()
