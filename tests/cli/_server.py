"""Helpers of the server tests: start and stop a server, plain and streamed requests, raw sockets.
Standard library only. Waiting is always for an answer; TIMEOUT_S only makes a hang a failure."""
import atexit
import contextlib
import http.client
import json
import re
import signal
import socket
import subprocess
import sys

TIMEOUT_S = 600
LONG = ["--context", "1000000"]  # room for a generation that does not end by itself


def check(ok, what):
    if not ok:
        raise AssertionError(what)


class Server:
    def __init__(self, mtk, model, *options):
        self.process = subprocess.Popen(
            [mtk, "serve", model, "--listen", "127.0.0.1:0", "--json", "-q", *options],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        atexit.register(self.process.kill)  # whatever fails, no server stays
        line = self.process.stdout.readline()
        if not line:
            raise AssertionError(f"no server: {self.process.communicate()[1]}")
        self.address = json.loads(line)["address"]
        self.port = int(self.address.rsplit(":", 1)[1])

    def stop(self, sig=signal.SIGTERM):
        """(exit code, stderr)"""
        self.process.send_signal(sig)
        return self.wait()

    def wait(self):
        _, err = self.process.communicate(timeout=TIMEOUT_S)
        return self.process.returncode, err

    def connect(self):
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=TIMEOUT_S)

    def socket(self):
        return socket.create_connection(("127.0.0.1", self.port), timeout=TIMEOUT_S)

    def ask(self, path, body=None, key=None, method=None):
        """(status, JSON document)"""
        c = self.connect()
        headers = {"Content-Type": "application/json"}
        if key:
            headers["Authorization"] = f"Bearer {key}"
        data = body if isinstance(body, (bytes, type(None))) else json.dumps(body).encode()
        with contextlib.closing(c):
            c.request(method or ("GET" if body is None else "POST"), path, data, headers)
            r = c.getresponse()
            return r.status, json.loads(r.read() or b"null")

    def get(self, path, body=None, key=None):
        status, doc = self.ask(path, body, key)
        check(status == 200, f"{path}: {status} {doc}")
        return doc

    def health(self):
        return self.get("/health")

    def stream(self, path, body):
        """Yields the events of a stream; checks its form."""
        c = self.connect()
        with contextlib.closing(c):
            c.request("POST", path, json.dumps({**body, "stream": True}).encode())
            r = c.getresponse()
            if r.status != 200:
                raise AssertionError(f"{path}: {r.status} {r.read()}")
            check(r.headers["Content-Type"] == "text/event-stream", str(r.headers))
            while True:
                line, blank = r.readline(), r.readline()
                check(line.startswith(b"data: ") and blank == b"\n", f"no event: {line} {blank}")
                data = line[6:].decode()
                if data == "[DONE]\n":
                    break
                yield json.loads(data)
            check(r.read() == b"", "bytes after [DONE]")


@contextlib.contextmanager
def serving(mtk, model, *options, code=0):
    """A server that must end with `code` after SIGTERM, silent on stderr if that is 0."""
    s = Server(mtk, model, *options)
    try:
        yield s
        if s.process.poll() is None:
            s.process.send_signal(signal.SIGTERM)
        got, err = s.wait()
        check(got == code, f"the server ended with {got}: {err}")
        check(code or not err, f"the server wrote: {err}")
    except BaseException:
        s.process.kill()
        _, err = s.process.communicate()
        if err:
            print(f"stderr of the server: {err}", file=sys.stderr)
        raise


def chat(text, **fields):
    return {"messages": [{"role": "user", "content": text}], **fields}


def joined(events):
    """A streamed answer as (text, reasoning, finish_reason, logprob entries, usage)."""
    text, reasoning, finish, logprobs, usage = "", "", None, [], None
    for e in events:
        usage = e.get("usage") or usage
        for choice in e["choices"]:
            part = choice.get("delta", choice)
            text += part.get("content") or part.get("text") or ""
            reasoning += part.get("reasoning_content") or ""
            finish = choice["finish_reason"] or finish
            entries = choice.get("logprobs")
            if entries:
                logprobs += entries["content"] if "content" in entries else [entries]
    return text, reasoning, finish, logprobs, usage


def raw(server, data):
    """Bytes out, what comes back until the server closes or `data` was answered with a close."""
    parts = []
    with server.socket() as s, contextlib.suppress(OSError):  # it may close before it has all
        s.sendall(data)
        s.shutdown(socket.SHUT_WR)
        while part := s.recv(65536):
            parts.append(part)
    return b"".join(parts)


def status_of(answer):
    found = re.match(rb"HTTP/1\.[01] (\d+) ", answer)
    return int(found[1]) if found else None
