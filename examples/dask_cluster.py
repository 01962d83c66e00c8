"""Upsample a stack on a cluster that dask manages; here one of two processes, so that it runs anywhere.

Instead of LocalCluster take that of your cluster, as SLURMCluster of dask-jobqueue, or give the address of a scheduler
that is there. Output and input must be on a disk that all its workers see.
"""

import sys

from distributed import LocalCluster

import zinterp

if __name__ == "__main__":
    stack, output, factor, model = sys.argv[1:]  # a.tif a_x4.ome.zarr 4 fast
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
        scheduler = cluster.scheduler_address
        made = zinterp.upsample(stack, output, factor=int(factor), model=model, scheduler=scheduler)
        sys.stdout.write(f"{made}\n")
