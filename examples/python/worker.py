"""A worker over gRPC: answers each run with the words of its prompt, until somebody presses stop.

    pip install grpcio grpcio-tools
    python -m grpc_tools.protoc -I proto --python_out=OUT --grpc_python_out=OUT proto/fanfold/v1/*.proto
    PYTHONPATH=OUT python worker.py 127.0.0.1:8081
"""

import os
import sys
import threading
import time

import grpc
from fanfold.v1 import content_pb2, event_pb2, service_pb2, service_pb2_grpc

METADATA = [("authorization", "Bearer " + os.environ.get("FANFOLD_TOKEN", ""))]


def model(messages):
    """Yours goes here: it gets the conversation and gives its answer in pieces."""
    for word in messages[-1].parts[0].text.text.split():
        time.sleep(0.02)
        yield word + " "


def answer(taken, over):
    """What the worker says: which run it starts, then numbered pieces, the last of which ends it."""
    start = service_pb2.AppendStart(session=taken.lease.session, run=taken.lease.run, worker="python")
    yield service_pb2.AppendRequest(start=start)
    seq = 0
    for said in words(taken):
        if over.is_set():
            return
        seq += 1
        yield service_pb2.AppendRequest(output=event_pb2.Output(seq=seq, said=[said]))


def words(taken):
    try:
        for piece in model(taken.messages):
            yield event_pb2.Said(text=content_pb2.Text(text=piece))
        reason = content_pb2.FinishReason(kind=content_pb2.FINISH_KIND_STOP)
        yield event_pb2.Said(completed=event_pb2.Completed(reason=reason))
    except Exception as error:  # The run is tried again, by this worker or another.
        yield event_pb2.Said(failed=event_pb2.Failed(code="model_error", message=str(error), retryable=True))


def attempt(workers, taken):
    over = threading.Event()

    def beat():
        while not over.wait(taken.lease_ms / 3000):
            workers.ExtendLease(taken.lease, metadata=METADATA)

    threading.Thread(target=beat, daemon=True).start()
    try:
        for reply in workers.Append(answer(taken, over), metadata=METADATA):
            if reply.HasField("over"):  # Cancelled, or another worker's by now.
                print("over:", reply.over.run.status, flush=True)
            elif reply.HasField("error"):
                print("error:", reply.error.code, reply.error.message, file=sys.stderr)
    finally:
        over.set()


def main():
    workers = service_pb2_grpc.WorkersStub(grpc.insecure_channel(sys.argv[1]))
    while True:
        try:
            taken = workers.TakeRun(service_pb2.TakeRunRequest(), metadata=METADATA, wait_for_ready=True)
            if taken.HasField("lease"):
                attempt(workers, taken)
        except grpc.RpcError as error:
            print(error.code(), error.details(), file=sys.stderr)
            time.sleep(1)


if __name__ == "__main__":
    main()
