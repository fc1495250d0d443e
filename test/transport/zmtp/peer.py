"""A libzmq peer for the interop tests, driven by one JSON argument.

Keys of the argument: bind or connect (endpoint), type (ROUTER or DEALER), server ([public, secret]), allow (list of
public keys, all when absent), keys ([public, secret]), server_key, heartbeat ([interval, timeout, ttl] in ms), task.
Tasks: echo (until stdin ends), shapes, pipeline (count), events (until a closing one), quiet (ms), say.
Each result is a line of JSON on stdout.
"""

import json
import os
import sys
import threading

import zmq
from zmq.utils import z85
from zmq.utils.monitor import recv_monitor_message

SHAPES = [
    [0], [1], [100], [253], [254], [255], [256], [257], [222], [221], [65535], [65536], [300000],
    [0, 0], [0, 5], [5, 0, 5], [1] * 100, [255, 256, 0, 70000], [10_000_000], [400_000, 3, 500_000],
]


def say(**fields):
    print(json.dumps(fields), flush=True)


def fill(size, salt):
    return bytes((i * 7 + salt) & 0xFF for i in range(256)) * (size // 256 + 1)


def parts_of(shape):
    return [fill(size, index)[:size] for index, size in enumerate(shape)]


def authenticator(context, allow):
    """ZAP (ZeroMQ RFC 27): accepts the public keys of the list."""
    socket = context.socket(zmq.REP)
    socket.bind("inproc://zeromq.zap.01")

    def run():
        while True:
            try:
                version, sequence, _domain, _address, _identity, _mechanism, key = socket.recv_multipart()
            except zmq.ContextTerminated:
                return
            allowed = z85.encode(key).decode() in allow
            status, text = (b"200", b"OK") if allowed else (b"400", b"no")
            socket.send_multipart([version, sequence, status, text, b"", b""])

    threading.Thread(target=run, daemon=True).start()


def open_socket(context, options):
    socket = context.socket(getattr(zmq, options["type"]))
    socket.linger = 0
    socket.sndhwm = socket.rcvhwm = 100_000
    socket.reconnect_ivl = 50
    if "identity" in options:
        socket.identity = options["identity"].encode()
    if "server" in options:
        if "allow" in options:
            authenticator(context, options["allow"])
            socket.zap_domain = b"test"
        socket.curve_publickey, socket.curve_secretkey = (key.encode() for key in options["server"])
        socket.curve_server = True
    if "server_key" in options:
        socket.curve_publickey, socket.curve_secretkey = (key.encode() for key in options["keys"])
        socket.curve_serverkey = options["server_key"].encode()
    if "heartbeat" in options:
        socket.heartbeat_ivl, socket.heartbeat_timeout, socket.heartbeat_ttl = options["heartbeat"]
    return socket


def echo(socket):
    poller = zmq.Poller()
    poller.register(socket, zmq.POLLIN)
    poller.register(sys.stdin, zmq.POLLIN)
    while True:
        ready = dict(poller.poll())
        if socket in ready:
            socket.send_multipart(socket.recv_multipart())
        if sys.stdin.fileno() in ready:
            return


def expect(socket, parts):
    if socket.poll(20_000) == 0:
        raise SystemExit("no answer within 20 s")
    got = socket.recv_multipart()
    if got != parts:
        raise SystemExit(f"sent {[len(p) for p in parts]}, got {[len(p) for p in got]}")


def shapes(socket):
    for shape in SHAPES:
        parts = parts_of(shape)
        socket.send_multipart(parts)
        expect(socket, parts)
    say(shapes=len(SHAPES))


def pipeline(socket, count):
    for index in range(count):
        socket.send_multipart([b"%d" % index, b"x" * (index % 300)])
    for index in range(count):
        expect(socket, [b"%d" % index, b"x" * (index % 300)])
    say(pipelined=count)


def events(monitor):
    names = {value: name for name, value in vars(zmq).items() if name.startswith("EVENT_") and isinstance(value, int)}
    seen = []
    while monitor.poll(10_000):
        event = recv_monitor_message(monitor)["event"]
        seen.append(str(names.get(event, event)))
        if event in (zmq.EVENT_HANDSHAKE_FAILED_AUTH, zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL, zmq.EVENT_DISCONNECTED,
                     zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL):
            break
    # Whether it comes back: its reconnect interval is 50 ms.
    retried = False
    while monitor.poll(500):
        event = recv_monitor_message(monitor)["event"]
        seen.append(str(names.get(event, event)))
        retried = retried or event in (zmq.EVENT_CONNECTED, zmq.EVENT_CONNECT_RETRIED)
    say(events=seen, retried=retried)


def quiet(socket, monitor, for_ms):
    expect_echo = [b"before"]
    socket.send_multipart(expect_echo)
    expect(socket, expect_echo)
    while monitor.poll(0):
        recv_monitor_message(monitor)
    if monitor.poll(for_ms):
        raise SystemExit(f"an event while quiet: {recv_monitor_message(monitor)}")
    socket.send_multipart([b"after"])
    expect(socket, [b"after"])
    say(quiet=for_ms)


def main():
    options = json.loads(sys.argv[1])
    context = zmq.Context()
    socket = open_socket(context, options)
    monitor = socket.get_monitor_socket()
    if "bind" in options:
        socket.bind(options["bind"])
        say(endpoint=socket.last_endpoint.decode().rstrip("\0"))
    else:
        socket.connect(options["connect"])
    task = options["task"]
    if task == "echo":
        echo(socket)
    elif task == "say":
        socket.send_multipart([part.encode() for part in options["parts"]])
        sys.stdin.read()
    elif task == "shapes":
        shapes(socket)
        pipeline(socket, options.get("count", 5000))
    elif task == "events":
        events(monitor)
    elif task == "quiet":
        quiet(socket, monitor, options["for_ms"])
    if "allow" in options:
        # The authenticator's thread is still in its socket, and destroying a context under a thread can hang.
        os._exit(0)
    context.destroy(linger=0)


main()
