"""models_tools.py MTK MODEL FOLDER: see models_tools.sh."""
import json
import pathlib
import subprocess
import sys

from _server import check, serving

MTK, MODEL, FOLDER = sys.argv[1:]
TOOL = {"type": "function", "function": {
    "name": "get_weather", "description": "Get the weather of a city", "parameters": {
        "type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}}}
ASK = {"messages": [{"role": "system", "content": "You are a helpful assistant."},
                    {"role": "user", "content": "What is the weather in Paris? Use the tool."}],
       "tools": [TOOL], "temperature": 0, "max_tokens": 60}


def check_call(call):
    check(call["type"] == "function" and call["function"]["name"] == "get_weather", call)
    check(json.loads(call["function"]["arguments"]) == {"city": "Paris"}, call)
    check(len(call["id"]) == 9 and call["id"].isalnum(), call)


def gathered(chunks):
    """The message and the finish reason of a stream, put together as OpenAI's clients do."""
    content, calls, finish = "", [], None
    for chunk in chunks:
        for choice in chunk["choices"]:
            content += choice["delta"].get("content") or ""
            for d in choice["delta"].get("tool_calls", []):
                if d["index"] == len(calls):
                    calls.append({"id": d["id"], "type": d["type"],
                                  "function": {"name": d["function"]["name"], "arguments": ""}})
                calls[d["index"]]["function"]["arguments"] += d["function"]["arguments"]
            finish = choice["finish_reason"] or finish
    return content, calls, finish


def test_server(server):
    status, whole = server.ask("/v1/chat/completions", ASK)
    choice = whole["choices"][0]
    check(status == 200 and choice["finish_reason"] == "tool_calls", whole)
    check(choice["message"]["content"] is None, whole)
    calls = choice["message"]["tool_calls"]
    check(len(calls) == 1, whole)
    check_call(calls[0])
    chunks = list(server.stream("/v1/chat/completions", ASK))
    content, streamed, finish = gathered(chunks)
    check(content == "" and finish == "tool_calls" and len(streamed) == 1, streamed)
    check_call(streamed[0])
    pieces = [c for c in chunks if c["choices"] and c["choices"][0]["delta"].get("tool_calls")]
    check(len(pieces) > 1, "the arguments came in one piece")
    answer = {"role": "tool", "tool_call_id": calls[0]["id"], "content": '{"celsius": 21}'}
    status, after = server.ask("/v1/chat/completions", dict(
        ASK, messages=ASK["messages"] + [choice["message"], answer]))
    check(status == 200 and "21" in (after["choices"][0]["message"]["content"] or ""), after)
    status, none = server.ask("/v1/chat/completions", dict(ASK, tool_choice="none"))
    check(status == 200 and "tool_calls" not in none["choices"][0]["message"], none)
    check(none["usage"]["prompt_tokens"] < whole["usage"]["prompt_tokens"], none)


def test_run():
    path = pathlib.Path(FOLDER) / "chat.json"
    path.write_text(json.dumps(ASK))
    def run(*options):
        out = subprocess.run([MTK, "run", MODEL, "--messages", path, "-n", "60", "--json", "-q",
                              *options], check=True, capture_output=True).stdout
        return json.loads(out)
    doc = run("--tool-parser", "llama3")
    check(len(doc["tool_calls"]) == 1 and doc["content"] == "", doc)
    check_call(doc["tool_calls"][0])
    check(json.loads(doc["text"])["name"] == "get_weather", doc)  # the raw text is kept
    check(run("--tool-parser", "llama3")["tool_calls"] == doc["tool_calls"], "other ids")
    doc = run()  # the model's own markup, which it does not use here
    check(doc["tool_calls"] == [] and doc["content"] == doc["text"], doc)
    bad = subprocess.run([MTK, "run", MODEL, "-p", "x", "--tool-parser", "nosuch"],
                         capture_output=True, text=True)
    check(bad.returncode == 2 and "hermes" in bad.stderr, bad)


with serving(MTK, MODEL, "--tool-parser", "llama3", "--context", "2048") as model_server:
    test_server(model_server)
test_run()
print("ok")
