"""Port 8000: HTTP that streams for a while at /stream, and WebSocket that echoes messages (RFC 6455). Port 9000: TCP echo."""
import base64
import hashlib
import socket
import struct
import threading
import time

KEY_SUFFIX = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def serve(port, answer):
    listener = socket.create_server(("0.0.0.0", port), backlog=128)

    def accept():
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=run, args=(connection,), daemon=True).start()

    def run(connection):
        with connection:
            try:
                answer(connection)
            except OSError:
                pass

    threading.Thread(target=accept).start()


def echo(connection):
    """To the end of what comes; the other half stays open until then."""
    while data := connection.recv(65536):
        connection.sendall(data)


def http(connection):
    stream = connection.makefile("rwb")
    target = stream.readline().split(b" ")[1]
    headers = {}
    while line := stream.readline().strip():
        name, value = line.split(b":", 1)
        headers[name.strip().lower()] = value.strip()
    if headers.get(b"upgrade", b"").lower() == b"websocket":
        websocket(stream, headers[b"sec-websocket-key"])
    elif target == b"/stream":
        lines(stream)
    else:
        stream.write(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\nConnection: close\r\n\r\nhello\n")
        stream.flush()


def lines(stream):
    """One line each 100 ms, so that who waits for the end to pass things on is found out."""
    stream.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
    for number in range(20):
        stream.write(b"%d\n" % number)
        stream.flush()
        time.sleep(0.1)


def websocket(stream, key):
    accept = base64.b64encode(hashlib.sha1(key + KEY_SUFFIX).digest())
    stream.write(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n")
    stream.write(b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n")
    stream.flush()
    while head := stream.read(2):
        size = head[1] & 0x7F
        if size == 126:
            (size,) = struct.unpack(">H", stream.read(2))
        elif size == 127:
            (size,) = struct.unpack(">Q", stream.read(8))
        mask = stream.read(4)
        masked = stream.read(size)
        payload = bytes(byte ^ mask[at % 4] for at, byte in enumerate(masked))
        length = bytes([size]) if size < 126 else b"\x7e" + struct.pack(">H", size)
        stream.write(bytes([head[0]]) + length + payload)
        stream.flush()
        if head[0] & 0x0F == 8:
            return


serve(8000, http)
serve(9000, echo)
