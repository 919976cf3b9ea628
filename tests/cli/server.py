"""server.py MTK MODEL ADAPTER [TEST...]: see server.sh."""
import contextlib
import json
import os
import resource
import signal
import socket
import sys
import threading

from _server import (LONG, Server, chat, check, joined, raw, serving, status_of)

MTK, MODEL, ADAPTER = sys.argv[1:4]
CHAT, COMPLETION = "/v1/chat/completions", "/v1/completions"
ENDLESS = {"ignore_eos": True, "max_tokens": 900000}


# ---- answers -------------------------------------------------------------------------------------

def test_answers(s):
    models = s.get("/v1/models")
    check(models["object"] == "list" and [m["id"] for m in models["data"]] == ["petit"], models)
    doc = s.get(CHAT, chat("2+3", max_tokens=5, ignore_eos=True))
    check(doc["object"] == "chat.completion" and doc["model"] == "petit", doc)
    choice = doc["choices"][0]
    check(choice["finish_reason"] == "length" and choice["message"]["role"] == "assistant", doc)
    check(doc["usage"]["completion_tokens"] == 5, doc["usage"])
    check(doc["usage"]["total_tokens"] == doc["usage"]["prompt_tokens"] + 5, doc["usage"])
    doc = s.get(CHAT, {"model": "petit", "max_completion_tokens": 3, "messages": [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "2+"},
                                     {"type": "text", "text": "3"}]}]})
    check(doc["usage"]["completion_tokens"] <= 3, doc)
    one = s.get(COMPLETION, {"prompt": "2+3", "max_tokens": 4, "ignore_eos": True})
    check(one["object"] == "text_completion" and one["usage"]["completion_tokens"] == 4, one)
    ids = s.get(COMPLETION, {"prompt": ["2+3"], "max_tokens": 4, "ignore_eos": True})
    check(one["choices"] == ids["choices"], (one, ids))
    by_id = s.get(COMPLETION, {"prompt": [1, 5, 9], "max_tokens": 4, "ignore_eos": True})
    check(by_id["usage"]["prompt_tokens"] == 3, by_id)
    usage = s.get(COMPLETION, {"prompt": "x", "ignore_eos": True})["usage"]
    check(usage["completion_tokens"] == 16, "the default of max_tokens for completions is 16")


def test_reasoning(s):
    if not os.path.exists(os.path.join(os.environ["MTK_SRC"],
                                       "examples/petit/model/model.safetensors")):
        print("note: the model has random weights, reasoning was not tested")
        return
    message = s.get(CHAT, chat("12+7 = ?"))["choices"][0]["message"]
    check("\\boxed{19}" in message["content"] and "THINK" not in message["content"], message)
    check(message["reasoning_content"] and "THINK" not in message["reasoning_content"], message)
    text, reasoning, finish, _, _ = joined(s.stream(CHAT, chat("12+7 = ?")))
    check((text, reasoning, finish) == (message["content"], message["reasoning_content"], "stop"),
          (text, reasoning, finish))


def test_streams(s):
    for path, body in ((CHAT, chat("2+3")), (COMPLETION, {"prompt": "2+3"})):
        body.update(max_tokens=40, ignore_eos=True, temperature=1, seed=5)
        whole = s.get(path, body)
        events = list(s.stream(path, body))
        text, reasoning, finish, _, usage = joined(events)
        choice = whole["choices"][0]
        message = choice.get("message", {"content": choice.get("text")})
        check(text == message["content"], (text, message))
        check(reasoning == message.get("reasoning_content", ""), (reasoning, message))
        check(finish == choice["finish_reason"] and usage is None, events[-1])
        check(len({e["id"] for e in events}) == 1, "one stream, one id")
        events = list(s.stream(path, {**body, "stream_options": {"include_usage": True}}))
        check(events[-1]["usage"] == whole["usage"] and events[-1]["choices"] == [], events[-1])


def test_sampling(s):
    def text(**fields):
        doc = s.get(COMPLETION, {"prompt": "zq?x", "max_tokens": 30, "ignore_eos": True, **fields})
        return doc["choices"][0]["text"]
    check(text() == text(temperature=0), "generation_config.json says do_sample false")
    check(text(temperature=1, seed=1) == text(temperature=1, seed=1), "one seed, one text")
    check(len({text(temperature=2, seed=i) for i in range(4)}) > 1, "seeds change nothing")
    check(len({text(temperature=2) for _ in range(4)}) > 1, "no seed must be a random one")
    check(text(temperature=2, top_k=1, seed=3) == text(temperature=0), "top_k 1 is greedy")
    check(text(temperature=1, top_p=0, seed=3) == text(temperature=0), "top_p 0 is greedy")
    check(text(temperature=0, repetition_penalty=5) != text(temperature=0), "repetition_penalty")


def test_stop(s):
    body = {"prompt": "2+3", "max_tokens": 60, "ignore_eos": True, "temperature": 1, "seed": 11}
    whole = s.get(COMPLETION, body)["choices"][0]["text"]
    for begin, length in ((0, 1), (5, 1), (7, 3), (len(whole) // 2, 6)):
        stop = whole[begin:begin + length]
        want = whole[:whole.index(stop)]
        for form in (stop, [stop], ["\u0001never", stop]):
            choice = s.get(COMPLETION, {**body, "stop": form})["choices"][0]
            check((choice["text"], choice["finish_reason"]) == (want, "stop"), (stop, choice))
        text, _, finish, _, _ = joined(s.stream(COMPLETION, {**body, "stop": stop}))
        check(text == want and finish == "stop", (stop, text, finish))


def test_logprobs(s):
    body = {"max_tokens": 12, "ignore_eos": True, "temperature": 0}
    wanted = chat("2+3", logprobs=True, top_logprobs=4, **body)
    doc = s.get(CHAT, wanted)
    entries = doc["choices"][0]["logprobs"]["content"]
    check(len(entries) == 12, doc)
    for e in entries:
        tops = [t["logprob"] for t in e["top_logprobs"]]
        check(len(tops) == 4 and tops == sorted(tops, reverse=True), e)
        check(e["logprob"] == tops[0] <= 0, f"greedy takes the most probable: {e}")
        check(bytes(e["bytes"]).decode(errors="replace") == e["token"], e)
    _, _, _, streamed, _ = joined(s.stream(CHAT, wanted))
    check(streamed == entries, (streamed, entries))
    check(s.get(CHAT, chat("2+3", **body))["choices"][0]["logprobs"] is None, "not asked for")
    old = s.get(COMPLETION, {"prompt": "2+3", "logprobs": 2, **body})["choices"][0]["logprobs"]
    check([len(old[k]) for k in ("tokens", "token_logprobs", "top_logprobs", "text_offset")] ==
          [12] * 4, old)
    check(old["text_offset"][0] == 0 and old["text_offset"] == sorted(old["text_offset"]), old)
    sampled = s.get(CHAT, chat("2+3", logprobs=True, max_tokens=12, ignore_eos=True, temperature=2,
                               seed=1))["choices"][0]["logprobs"]["content"]
    check(all(e["top_logprobs"] == [] and e["logprob"] <= 0 for e in sampled), sampled)


# ---- what is wrong with a request ----------------------------------------------------------------

BAD_BODIES = [
    # body, status, param, part of the message
    (b"", 400, None, "JSON"), (b"{", 400, None, "JSON"), (b"[1]", 400, None, "object"),
    (b"null", 400, None, "JSON"), (b"\xff\xfe{}", 400, None, "JSON"),
    (b'{"prompt": "a", "prompt": "b"}', 400, None, "duplicate"),
    (b"[" * 100000, 400, None, "JSON"), (b'{"a":' * 5000, 400, None, "JSON"),
    (b'{"prompt": "\xc3\x28"}', 400, None, "JSON"), (b'{"prompt": "\\ud800"}', 400, None, "JSON"),
    ({}, 400, "prompt", "prompt"), ({"prompt": []}, 400, "prompt", "prompt"),
    ({"prompt": 7}, 400, "prompt", "prompt"), ({"prompt": ["a", "b"]}, 400, "prompt", "token id"),
    ({"prompt": [1, -1]}, 400, "prompt", "token id"),
    ({"prompt": [1, 10**12]}, 400, "prompt", "token id"),
    ({"prompt": "x", "model": "nosuch"}, 404, "model", "nosuch"),
    ({"prompt": "x", "model": 7}, 404, "model", "does not exist"),
    ({"prompt": "x", "temperature": "hot"}, 400, "temperature", "number"),
    ({"prompt": "x", "temperature": -1}, 400, "temperature", "from 0 to 2"),
    ({"prompt": "x", "temperature": 1e300}, 400, "temperature", "from 0 to 2"),
    ({"prompt": "x", "top_p": 2}, 400, "top_p", "from 0 to 1"),
    ({"prompt": "x", "top_k": 1.5}, 400, "top_k", "integer"),
    ({"prompt": "x", "max_tokens": 0}, 400, "max_tokens", "positive"),
    ({"prompt": "x", "max_tokens": "9"}, 400, "max_tokens", "positive"),
    ({"prompt": "x", "seed": "s"}, 400, "seed", "integer"),
    ({"prompt": "x", "stop": 5}, 400, "stop", "stop"),
    ({"prompt": "x", "stop": ["a", 5]}, 400, "stop", "non-empty"),
    ({"prompt": "x", "stop": ""}, 400, "stop", "non-empty"),
    ({"prompt": "x", "stop": "a\0b"}, 400, "stop", "NUL"),
    ({"prompt": "x", "stop": ["a"] * 17}, 400, "stop", "at most 16"),
    ({"prompt": "x", "logprobs": 21}, 400, "logprobs", "0 to 20"),
    ({"prompt": "x", "stream": "yes"}, 400, "stream", "true or false"),
    ({"prompt": "x", "n": 2}, 400, "n", "only as 1"),
    ({"prompt": "x", "echo": True}, 400, "echo", "only as false"),
    ({"prompt": "x", "logit_bias": {"5": 1}}, 400, "logit_bias", "only as"),
    ({"prompt": "word " * 2000}, 400, "prompt", "context"),
]
BAD_CHATS = [
    ({}, 400, "messages", "non-empty list"), ({"messages": []}, 400, "messages", "non-empty list"),
    ({"messages": "hi"}, 400, "messages", "non-empty list"),
    ({"messages": [1]}, 400, "messages", "role"),
    ({"messages": [{"content": "x"}]}, 400, "messages", "role"),
    ({"messages": [{"role": 1, "content": "x"}]}, 400, "messages", "role"),
    (chat([{"type": "image_url", "image_url": {"url": "x"}}]), 400, "messages", "not text"),
    (chat("x", logprobs=3), 400, "logprobs", "true or false"),
    (chat("x", top_logprobs=3), 400, "top_logprobs", "needs"),
    (chat("x", logprobs=True, top_logprobs=-1), 400, "top_logprobs", "0 to 20"),
    (chat("x", response_format={"type": "json_object"}), 400, "response_format", "only as"),
]


def test_errors(s):
    for path, rows in ((COMPLETION, BAD_BODIES), (CHAT, BAD_CHATS)):
        for body, want, param, part in rows:
            status, doc = s.ask(path, body)
            what = f"{str(body)[:100]}: {status} {doc}"
            check(status == want, what)
            check(set(doc["error"]) == {"message", "type", "param", "code"}, what)
            check(doc["error"]["type"] == "invalid_request_error", what)
            check(doc["error"]["param"] == param and part in doc["error"]["message"], what)
    check(s.ask(COMPLETION, {"prompt": "word " * 2000})[1]["error"]["code"] ==
          "context_length_exceeded", "code of a long prompt")
    for method, path, want in (("GET", COMPLETION, 405), ("POST", "/v1/models", 405),
                               ("PUT", CHAT, 405), ("DELETE", CHAT, 405), ("GET", "/", 404),
                               ("GET", "/v1/modelsx", 404), ("OPTIONS", "/health", 405)):
        status, doc = s.ask(path, b"{}" if method in ("POST", "PUT") else None, method=method)
        check(status == want and doc["error"]["message"], f"{method} {path}: {status} {doc}")


def test_malformed_http(s):
    post = b"POST /v1/completions HTTP/1.1\r\nHost: x\r\n"
    for data in (b"\r\n\r\n", b"nonsense\r\n\r\n", b"GET\r\n\r\n", b"GET /health\r\n\r\n",
                 b"GET /health HTTP/9.9\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
                 b"\0" * 1000, b"GET /" + b"a" * 100000 + b" HTTP/1.1\r\n\r\n",
                 b"GET /%zz HTTP/1.1\r\nHost: x\r\n\r\n", b"GET http://[::1 HTTP/1.1\r\n\r\n",
                 b"GET /health HTTP/1.1\r\nX: " + b"a" * 100000 + b"\r\n\r\n",
                 b"GET /health HTTP/1.1\r\n" + b"X: y\r\n" * 20000 + b"\r\n",
                 b"GET /health HTTP/1.1\r\nno colon\r\n\r\n",
                 post + b"Content-Length: -5\r\n\r\n{}", post + b"Content-Length: 9e9\r\n\r\n{}",
                 post + b"Content-Length: 99999999999999999999\r\n\r\n{}",
                 post + b"Content-Length: 50\r\n\r\n{", post + b"Expect: magic\r\n\r\n",
                 post + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
                 post + b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n{}",
                 post + b"Transfer-Encoding: chunked\r\n\r\n-1\r\n{}\r\n0\r\n\r\n",
                 b"TRACE / HTTP/1.1\r\n\r\n", b"CONNECT x:1 HTTP/1.1\r\n\r\n",
                 b"BREW /pot HTTP/1.1\r\n\r\n"):
        status = status_of(raw(s, data))
        check(status is None or 400 <= status < 600, f"{data[:60]}: {status}")
        check(s.ask("/v1/models")[0] == 200, f"the server is gone after {data[:60]}")
    with s.socket() as half:  # a request that is never finished
        half.sendall(post + b"Content-Length: 50\r\n\r\n{")
        check(s.health()["status"] == "ok", "health beside an unfinished request")


def post_bytes(path, body, extra=b""):
    data = json.dumps(body).encode()
    return (f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(data)}\r\n".encode() + extra +
            b"\r\n" + data)


def read_reply(f):
    """One reply of a kept connection: (status, body)."""
    status = int(f.readline().split()[1])
    length, chunked = 0, False
    while (line := f.readline().strip()):
        name, value = line.lower().split(b": ", 1)
        if name == b"content-length":
            length = int(value)
        chunked = chunked or (name, value) == (b"transfer-encoding", b"chunked")
    if not chunked:
        return status, f.read(length)
    body = b""
    while (n := int(f.readline(), 16)):
        body += f.read(n)
        f.readline()
    f.readline()
    return status, body


def test_pipelining(s):
    """Requests sent before the answers to earlier ones are answered in order."""
    bodies = [{"prompt": f"{i}+1", "max_tokens": 20 + i, "ignore_eos": True, "stream": i % 2 == 1}
              for i in range(6)]
    want = [s.get(COMPLETION, {**b, "stream": False})["choices"][0]["text"] for b in bodies]
    with s.socket() as c, c.makefile("rb") as f:
        c.sendall(b"".join(post_bytes(COMPLETION, b) for b in bodies) +
                  b"GET /v1/models HTTP/1.1\r\nHost: x\r\n\r\n")
        for b, text in zip(bodies, want):
            status, body = read_reply(f)
            check(status == 200, (status, body))
            if b["stream"]:
                events = [json.loads(line[6:]) for line in body.decode().split("\n\n")
                          if line and line != "data: [DONE]"]
                got = joined(events)[0]
            else:
                got = json.loads(body)["choices"][0]["text"]
            check(got == text, (got, text))
        check(read_reply(f)[0] == 200, "the last of the pipelined requests")
    with s.socket() as c, c.makefile("rb") as f:  # far more than the server keeps
        flood = post_bytes(COMPLETION, bodies[0])
        sender = threading.Thread(target=lambda: c.sendall(flood * 500))
        sender.start()
        for _ in range(500):
            check(read_reply(f)[0] == 200, "a flood of pipelined requests")
        sender.join()


def test_http_1_0(s):
    body = {"prompt": "2+3", "max_tokens": 9, "ignore_eos": True}
    want = s.get(COMPLETION, body)["choices"][0]["text"]
    for stream in (False, True):
        data = json.dumps({**body, "stream": stream}).encode()
        with s.socket() as c:
            c.sendall(b"POST /v1/completions HTTP/1.0\r\n"
                      b"Content-Length: %d\r\n\r\n" % len(data) + data)
            answer = b"".join(iter(lambda: c.recv(65536), b""))
        head, _, text = answer.partition(b"\r\n\r\n")
        check(status_of(answer) == 200 and b"chunked" not in head, answer)
        if stream:
            got = joined([json.loads(line[6:]) for line in text.decode().split("\n\n")
                          if line and line != "data: [DONE]"])[0]
        else:
            got = json.loads(text)["choices"][0]["text"]
        check(got == want, (got, want))


# ---- many clients, clients that leave ------------------------------------------------------------

def mixed_requests():
    for i in range(32):
        common = {"max_tokens": 10 + 5 * i, "temperature": (0, 0.7, 1.3)[i % 3], "seed": i,
                  "stream_options": {"include_usage": True}, "ignore_eos": i % 4 != 0}
        if i % 5 == 1:
            common["top_p"] = 0.9
        if i % 5 == 2:
            common["frequency_penalty"] = 0.5
        if i % 7 == 3:
            common["stop"] = ["e", "0"]
        question = f"How much is {i} + {i * 7}? " * (1 + i % 6)
        if i % 2:
            yield CHAT, chat(question, logprobs=True, top_logprobs=i % 5, **common)
        else:
            yield COMPLETION, {"prompt": question, "logprobs": i % 5, **common}


def concurrent_equals_sequential(s):
    requests = list(mixed_requests())
    want = [joined(s.stream(*r)) for r in requests]
    before = s.health()
    got, barrier = [None] * len(requests), threading.Barrier(len(requests))

    def client(i):
        barrier.wait()
        try:
            got[i] = joined(s.stream(*requests[i]))
        except Exception as e:  # reported below
            got[i] = e
    threads = [threading.Thread(target=client, args=(i,)) for i in range(len(requests))]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    after = s.health()
    for i, (w, g) in enumerate(zip(want, got)):
        check(w == g, f"request {i} {requests[i]}\nalone:    {w}\ntogether: {g}")
    tokens = after["generated_tokens"] - before["generated_tokens"]
    steps = after["steps"] - before["steps"]
    check(steps < tokens, f"{tokens} tokens in {steps} steps: nothing was batched")
    print(f"32 streams at once: {tokens} tokens in {steps} steps, equal to one by one")


def test_closed_connection():
    """One place; its owner leaves in the middle of an endless answer; the next one gets it."""
    with serving(MTK, MODEL, "--parallel", "1", *LONG) as s:
        for leave in ("close", "reset", "shutdown"):
            c = s.socket()
            c.sendall(post_bytes(COMPLETION, {"prompt": "x", "stream": True, **ENDLESS}))
            check(b"data: " in c.recv(65536) + c.recv(65536), "the stream did not begin")
            if leave == "reset":
                c.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            if leave == "shutdown":
                c.shutdown(socket.SHUT_RDWR)
            c.close()
            doc = s.get(COMPLETION, {"prompt": "x", "max_tokens": 3, "ignore_eos": True})
            check(doc["usage"]["completion_tokens"] == 3, doc)
        # One that has not begun to answer, and one that waits for its turn.
        first, second = s.socket(), s.socket()
        for c in (first, second):
            c.sendall(post_bytes(CHAT, chat("x", **ENDLESS)))
        while True:
            h = s.health()
            if (h["running"], h["queued"]) == (1, 1):
                break
        second.close()
        first.close()
        s.get(COMPLETION, {"prompt": "x", "max_tokens": 3, "ignore_eos": True})
        while (h := s.health())["running"] or h["queued"]:
            pass
        check(h["generated_tokens"] < ENDLESS["max_tokens"], h)


def test_slow_reader():
    """A client that asks for much and reads nothing is given up; others are served meanwhile."""
    with serving(MTK, MODEL, "--parallel", "2", *LONG) as s:
        c = s.socket()
        c.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        c.sendall(post_bytes(CHAT, chat("x", stream=True, logprobs=True, top_logprobs=20,
                                        **ENDLESS)))
        served = 0
        while True:
            s.get(COMPLETION, {"prompt": "x", "max_tokens": 50, "ignore_eos": True})
            h = s.health()
            if served and h["running"] == 0:
                break
            served += 1
        check(h["generated_tokens"] < ENDLESS["max_tokens"], h)
        c.close()
        print(f"slow reader: given up, {served} requests served meanwhile")


def test_small_cache():
    """Requests that do not fit into the KV cache together wait for one another: same answers."""
    with serving(MTK, MODEL, "--parallel", "32", "--kv-tokens", "1024") as s:
        concurrent_equals_sequential(s)


# ---- keys, adapters, limits, stopping ------------------------------------------------------------

def test_keys():
    with open("keys.txt", "w") as f:
        f.write("\n  file-key \r\nother\n")
    with serving(MTK, MODEL, "--api-key", "secret", "--api-key-file", "keys.txt") as s:
        for key, want in ((None, 401), ("", 401), ("Secret", 401), ("secre", 401), ("secrett", 401),
                          ("secret", 200), ("file-key", 200), ("other", 200)):
            status, doc = s.ask("/v1/models", key=key)
            check(status == want, f"key {key}: {status} {doc}")
            status, doc = s.ask(COMPLETION, {"prompt": "x", "max_tokens": 1}, key=key)
            check(status == want, f"key {key}: {status} {doc}")
            check(want == 200 or doc["error"]["code"] == "invalid_api_key", doc)
        check(s.health()["status"] == "ok", "health needs no key")


def test_adapters():
    with serving(MTK, MODEL, "--name", "base", "--adapter", f"tuned={ADAPTER}") as s:
        check([m["id"] for m in s.get("/v1/models")["data"]] == ["base", "tuned"], "names")
        body = {"prompt": "How much is 2+3?", "max_tokens": 40, "ignore_eos": True, "logprobs": 1}
        base, tuned = (s.get(COMPLETION, {**body, "model": name})["choices"]
                       for name in ("base", "tuned"))
        check(base != tuned, "the adapter changes nothing")
        check(s.get(COMPLETION, body)["choices"] == base, "the first model is the default")
        got = {}

        def client(i):
            got[i] = s.get(COMPLETION, {**body, "model": ("base", "tuned")[i % 2]})["choices"]
        threads = [threading.Thread(target=client, args=(i,)) for i in range(8)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        check(all(got[i] == (base, tuned)[i % 2] for i in range(8)), "adapters in one batch")


def test_limits():
    with serving(MTK, MODEL, "--max-body", "2048", "--kv-tokens", "64") as s:
        large = post_bytes(COMPLETION, {"prompt": "x" * 4000})
        check(status_of(raw(s, large)) == 413, "large body")
        status, doc = s.ask(COMPLETION, {"prompt": [5] * 100})
        check(status == 400 and "KV cache" in doc["error"]["message"], doc)
        doc = s.get(COMPLETION, {"prompt": [5] * 10, "max_tokens": 300, "ignore_eos": True})
        check(doc["choices"][0]["finish_reason"] == "length", doc)


def test_no_descriptors():
    """More clients than the process may have open files: the rest wait, and are served later."""
    with serving(MTK, MODEL) as s:
        used = len(os.listdir(f"/proc/{s.process.pid}/fd"))
        resource.prlimit(s.process.pid, resource.RLIMIT_NOFILE, (used + 4, used + 4))
        idle = [s.socket() for _ in range(40)]
        answers = []
        waiting = threading.Thread(target=lambda: answers.append(s.ask("/v1/models")[0]))
        waiting.start()
        for c in idle:
            c.close()
        waiting.join()
        check(answers == [200] and s.health()["status"] == "ok", answers)


def test_drain():
    """SIGTERM: what runs is finished, what comes is refused, the exit code is 0."""
    for sig in (signal.SIGTERM, signal.SIGINT):
        s = Server(MTK, MODEL, *LONG, "--drain-s", "86400")
        body = {"prompt": "x", "max_tokens": 1500, "ignore_eos": True}
        events = s.stream(COMPLETION, {**body, "stream_options": {"include_usage": True}})
        first = next(events)
        s.process.send_signal(sig)
        text, _, finish, _, usage = joined([first, *events])
        check(finish == "length" and usage["completion_tokens"] == 1500 and text, (finish, usage))
        code, err = s.wait()
        check((code, err) == (0, ""), (code, err))
    with serving(MTK, MODEL, *LONG, "--drain-s", "86400") as s:
        c = s.socket()
        c.sendall(post_bytes(COMPLETION, {"prompt": "x", "stream": True, **ENDLESS}))
        c.recv(100)
        s.process.send_signal(signal.SIGTERM)
        while True:
            status, doc = s.ask("/health")
            if status == 503:
                break
        check("shutting down" in doc["error"]["message"], doc)
        c.close()
        s.process.wait()


def test_cut():
    """What outlasts the drain is cut off, and the exit code says so."""
    s = Server(MTK, MODEL, *LONG, "--drain-s", "0")
    events = s.stream(COMPLETION, {"prompt": "x", **ENDLESS})
    next(events)
    s.process.send_signal(signal.SIGTERM)
    last = {"error": "none: the connection was closed"}
    with contextlib.suppress(AssertionError, OSError):  # a stream without [DONE]
        for last in events:
            pass
    check("error" in last, last)
    code, err = s.wait()
    check(code == 143 and err.count("\n") == 1, (code, err))


def test_allocation():
    """Memory runs out once: at the start that is a clear end, in a request one reply of 500."""
    def start(n):
        os.environ["MTK_ALLOC_FAIL"] = str(n)
        try:
            return Server(MTK, MODEL, "-t", "1")
        finally:
            del os.environ["MTK_ALLOC_FAIL"]

    n, failed, refused, i = 0, 0, 0, 0
    while i - n < 200:  # every seventh allocation of the start; n: after the last that failed
        try:
            code, err = start(i).stop()
            check(code == 0, f"allocation {i}: exit code {code}: {err}")
        except AssertionError as e:
            check(str(e).count("mtk serve: ") == 1 and "Sanitizer" not in str(e), f"{i}: {e}")
            failed, n = failed + 1, i
        i += 7
    check(failed > 10, f"only {failed} starts failed")
    bodies = ((CHAT, chat("2+3", max_tokens=9, logprobs=True, top_logprobs=2, stop="\u0001")),
              (CHAT, chat("2+3", max_tokens=9, stream=True)))
    with serving(MTK, MODEL) as s:
        want = s.get(*bodies[0])["choices"], joined(s.stream(*bodies[1]))
    for i in range(7, 127):
        s = start(n + i)
        path, body = bodies[i % 2]
        try:
            events = list(s.stream(path, body)) if i % 2 else [s.ask(path, body)[1]]
            if "error" in events[-1]:
                check(events[-1]["error"]["type"] == "server_error", events)
                refused += 1
            else:  # nothing may be missing
                got = joined(events) if i % 2 else events[0]["choices"]
                check(got == want[i % 2], (got, want))
        except AssertionError as e:
            check("server_error" in str(e), f"allocation {n + i}: {e}")
            refused += 1
        if s.ask(path, {**body, "stream": False})[0] == 500:  # that allocation was still to come
            refused += 1
            s.get(path, {**body, "stream": False})
        code, err = s.stop()
        check(code == 0, f"allocation {n + i}: exit code {code}: {err}")
    check(refused > 10, f"only {refused} requests failed")
    print(f"allocation failures: {failed} starts ended clearly, {refused} requests were refused")


SHARED = [test_answers, test_reasoning, test_streams, test_sampling, test_stop, test_logprobs,
          test_errors, test_malformed_http, test_pipelining, test_http_1_0,
          concurrent_equals_sequential]
OWN = [test_small_cache, test_closed_connection, test_slow_reader, test_keys, test_adapters,
       test_limits, test_no_descriptors, test_drain, test_cut]
BY_NAME = [test_allocation]  # allocation.sh


def main():
    chosen = sys.argv[4:]
    if not chosen or any(t.__name__ in chosen for t in SHARED):
        with serving(MTK, MODEL, "--name", "petit") as s:
            for test in SHARED:
                if not chosen or test.__name__ in chosen:
                    test(s)
                    print(f"ok {test.__name__}", flush=True)
    for test in OWN:
        if not chosen or test.__name__ in chosen:
            test()
            print(f"ok {test.__name__}", flush=True)
    for test in BY_NAME:
        if test.__name__ in chosen:
            test()
            print(f"ok {test.__name__}", flush=True)


main()
