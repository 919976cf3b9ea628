"""embeddings_server.py MTK MODEL [OPTION...]: /v1/embeddings gives the vectors of `mtk embed`, for strings, lists and
ids, as numbers and base64; the official client too, where it is installed. See embeddings.sh."""
import array
import base64
import json
import subprocess
import sys

from _server import Server, check

try:
    import openai
except ImportError:
    openai = None
MTK, MODEL, *OPTIONS = sys.argv[1:]
TEXTS = ["one text", "another, longer text", "Ünïcode"]


def embed(texts):
    lines = "".join(json.dumps(t) + "\n" for t in texts)
    out = subprocess.run([MTK, "embed", MODEL, "--json", "-q"], input=lines, capture_output=True, text=True, check=True)
    return [json.loads(line) for line in out.stdout.splitlines()]


def same(got, want):
    """JSON numbers of replies have 9 digits: enough to tell any f32."""
    return array.array("f", got).tobytes() == array.array("f", want).tobytes()


def check_replies(server, want):
    status, one = server.ask("/v1/embeddings", {"input": TEXTS[0]})
    check(status == 200 and same(one["data"][0]["embedding"], want[0]["embedding"]), one)
    check(one["usage"] == {"prompt_tokens": want[0]["n_tokens"], "total_tokens": want[0]["n_tokens"]}, one["usage"])
    status, all_ = server.ask("/v1/embeddings", {"input": TEXTS, "encoding_format": "base64"})
    check([d["index"] for d in all_["data"]] == [0, 1, 2], all_)
    for d, w in zip(all_["data"], want, strict=True):
        check(base64.b64decode(d["embedding"]) == array.array("f", w["embedding"]).tobytes(), "base64 has other bits")
    ids = [int(x) for x in subprocess.run([MTK, "tokenize", MODEL, "--text", TEXTS[1]], capture_output=True, text=True,
                                          check=True).stdout.split()]
    for given in (ids, [ids]):
        status, by_id = server.ask("/v1/embeddings", {"input": given})
        check(same(by_id["data"][0]["embedding"], want[1]["embedding"]), "ids give another vector")


def check_refusals(server):
    for body in ({}, {"input": []}, {"input": 3}, {"input": [[]]}, {"input": "x", "encoding_format": "hex"},
                 {"input": [[-1]]}, {"input": [[2 ** 31 - 1]]}, {"input": ["a", None]},
                 {"input": "x", "dimensions": 1}):
        status, doc = server.ask("/v1/embeddings", body)
        check(status == 400 and doc["error"]["message"], (body, status, doc))
    status, doc = server.ask("/v1/completions", {"prompt": "x"})
    check(status == 400 and "embeddings" in doc["error"]["message"], doc)
    check(server.ask("/health")[1]["status"] == "ok", "health")


def check_client(server, want):
    client = openai.OpenAI(base_url=f"http://{server.address}/v1", api_key="none")
    for form in ({}, {"encoding_format": "float"}): # the client asks for base64 by itself
        reply = client.embeddings.create(model=client.models.list().data[0].id, input=TEXTS, **form)
        check(all(same(d.embedding, w["embedding"]) for d, w in zip(reply.data, want, strict=True)), "openai client")


server = Server(MTK, MODEL, *OPTIONS)
want = embed(TEXTS)
check_replies(server, want)
check_refusals(server)
if openai:
    check_client(server, want)
else:
    print("note: no openai package, its part was left out")
code, err = server.stop()
check(code == 0, err)
