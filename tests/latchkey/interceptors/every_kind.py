"""A method of each kind, which tells callers who they are."""

import os
from concurrent import futures

import grpc
from gitpod.v1 import identity_pb2
from latchkey_interceptor import CALLER, TokenInterceptor


def one(_request, _context):
    return CALLER.get().subject


def many(_request, _context):
    yield CALLER.get().subject


methods = {
    "".join(word.capitalize() for word in kind.split("_")): getattr(grpc, f"{kind}_rpc_method_handler")(
        many if kind.endswith("stream") else one, None, identity_pb2.Subject.SerializeToString
    )
    for kind in ["unary_unary", "unary_stream", "stream_unary", "stream_stream"]
}
interceptor = TokenInterceptor(grpc.insecure_channel("127.0.0.1:8080"), os.environ["SERVICE_TOKEN"])
server = grpc.server(futures.ThreadPoolExecutor(4), interceptors=[interceptor])
server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("demo.Greeter", methods)])
server.add_insecure_port("127.0.0.1:50051")
server.start()
server.wait_for_termination()
