"""A pool of Beam's Python workers on one address, where Beam's own listens on all: `pool.py HOST:PORT`.

Beam numbers the workers of each task manager or executor from `1-1`, and a pool knows its workers by that name. Two task
managers with one pool would stop each other's workers; on one machine each needs a pool on an address of its own.
"""

import os
import sys
from concurrent import futures

import grpc
from apache_beam.portability.api import beam_fn_api_pb2_grpc
from apache_beam.runners.worker.worker_pool_main import BeamFnExternalWorkerPoolServicer


def main() -> None:
    """Serves until it is stopped; workers have the Python that runs this."""
    os.environ["PATH"] = os.pathsep.join([os.path.dirname(sys.executable), os.environ.get("PATH", "")])
    server = grpc.server(futures.ThreadPoolExecutor(8))
    pool = BeamFnExternalWorkerPoolServicer(use_process=True, data_buffer_time_limit_ms=-1)
    beam_fn_api_pb2_grpc.add_BeamFnExternalWorkerPoolServicer_to_server(pool, server)
    server.add_insecure_port(sys.argv[1])
    server.start()
    server.wait_for_termination()


if __name__ == "__main__":
    main()
