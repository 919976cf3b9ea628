"""openai_client.py MTK MODEL: see openai_client.sh."""
import asyncio
import sys

import openai

from _server import check, serving

MTK, MODEL = sys.argv[1:]
KEY = "test-key"
ODD = [{"role": "user", "content": "zq?x"}]  # not sure what to say to this
QUESTION = [{"role": "user", "content": "How much is 12+7?"}]
LONG = {"extra_body": {"ignore_eos": True}}


def gathered(stream):
    """Text, reasoning, finish reason, usage of a stream of chat chunks."""
    text, reasoning, finish, usage = "", "", None, None
    for chunk in stream:
        usage = chunk.usage or usage
        for choice in chunk.choices:
            text += choice.delta.content or ""
            reasoning += getattr(choice.delta, "reasoning_content", None) or ""
            finish = choice.finish_reason or finish
    return text, reasoning, finish, usage


def test_chat(client):
    check([m.id for m in client.models.list()] == ["petit"], "models")
    whole = client.chat.completions.create(model="petit", messages=QUESTION, max_tokens=100)
    message = whole.choices[0].message
    check(message.role == "assistant" and whole.usage.completion_tokens > 0, whole)
    stream = client.chat.completions.create(model="petit", messages=QUESTION, max_tokens=100,
                                            stream=True, stream_options={"include_usage": True})
    text, reasoning, finish, usage = gathered(stream)
    check(text == message.content and finish == whole.choices[0].finish_reason, (text, message))
    check(reasoning == getattr(message, "reasoning_content", ""), (reasoning, message))
    check(usage == whole.usage, (usage, whole.usage))
    if finish != "stop":
        return  # random weights: the client's own collector takes only answers that end
    with client.chat.completions.stream(model="petit", messages=QUESTION) as events:
        final = events.get_final_completion()
    check(final.choices[0].message.content == message.content, final)


def test_seed(client):
    def ask(**fields):
        r = client.chat.completions.create(model="petit", messages=ODD, max_tokens=40,
                                           **fields, **LONG)
        m = r.choices[0].message
        return m.content, getattr(m, "reasoning_content", None)
    check(ask(temperature=2, seed=3) == ask(temperature=2, seed=3), "one seed, one answer")
    check(len({ask(temperature=2, seed=i) for i in range(5)}) > 1, "seeds change nothing")


def test_stop(client):
    def ask(**fields):
        return client.completions.create(model="petit", prompt="2+3", max_tokens=60, seed=2,
                                         temperature=1, **fields, **LONG).choices[0]
    whole = ask().text
    stop = whole[9:12]
    got = ask(stop=stop)
    check(got.text == whole[:whole.index(stop)] and got.finish_reason == "stop", (stop, whole, got))
    got = ask(stop=["\u0001never", stop], stream=False)
    check(got.text == whole[:whole.index(stop)], (stop, whole, got))


def test_logprobs(client):
    r = client.chat.completions.create(model="petit", messages=QUESTION, max_tokens=10,
                                       temperature=0, logprobs=True, top_logprobs=3, **LONG)
    entries = r.choices[0].logprobs.content
    check(len(entries) == 10, r)
    for e in entries:
        check(len(e.top_logprobs) == 3 and e.top_logprobs[0].token == e.token, e)
        check(e.logprob == e.top_logprobs[0].logprob >= e.top_logprobs[1].logprob, e)
    old = client.completions.create(model="petit", prompt="2+3", max_tokens=10, logprobs=2, **LONG)
    check(len(old.choices[0].logprobs.token_logprobs) == 10, old)


TOOL = {"type": "function", "function": {"name": "add", "description": "Adds", "parameters": {
    "type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}}}}}
CALL = {"id": "abcdefghi", "type": "function",
        "function": {"name": "add", "arguments": '{"a": 12, "b": 7}'}}


def test_tools(client):
    """Requests with tools are understood; what a model answers to them is up to the model."""
    def ask(**fields):
        return client.chat.completions.create(model="petit", max_tokens=20, **fields)
    for choice in ("auto", "none"):
        r = ask(messages=QUESTION, tools=[TOOL], tool_choice=choice).choices[0]
        check((r.finish_reason == "tool_calls") == bool(r.message.tool_calls), r)
    history = QUESTION + [{"role": "assistant", "content": "", "tool_calls": [CALL]},
                          {"role": "tool", "tool_call_id": "abcdefghi", "content": "19"}]
    plain = ask(messages=QUESTION, seed=1)
    check(ask(messages=QUESTION, seed=1, tools=[]).choices[0].message ==
          plain.choices[0].message, "an empty list of tools changes the answer")
    bad = [("messages", {"messages": history}),  # petit's template knows no tools' messages
           ("tools", {"tools": [{"type": "function"}]}), ("tools", {"tools": {"a": 1}}),
           ("tool_choice", {"tools": [TOOL], "tool_choice": "required"}),
           ("tool_choice", {"tools": [TOOL], "tool_choice": {
               "type": "function", "function": {"name": "add"}}}),
           ("messages", {"messages": [dict(history[1], tool_calls=[{"id": "a"}])]}),
           ("messages", {"messages": [dict(history[1], tool_calls=3)]})]
    for param, fields in bad:
        try:
            ask(**{"messages": QUESTION, **fields})
        except openai.BadRequestError as e:
            check(e.param == param, (param, e))
        else:
            raise AssertionError(f"accepted: {fields}")
    try:
        client.completions.create(model="petit", prompt="a", suffix="b", max_tokens=1)
    except openai.BadRequestError as e:
        check("suffix" in e.message, e)
    else:
        raise AssertionError("accepted a suffix")


def test_errors(client, address):
    def fails(kind, call):
        try:
            call()
        except kind as e:
            return e
        raise AssertionError(f"no {kind.__name__}")
    create = client.chat.completions.create
    e = fails(openai.NotFoundError, lambda: create(model="nosuch", messages=QUESTION))
    check(e.code == "model_not_found" and e.param == "model" and "nosuch" in e.message, e)
    e = fails(openai.BadRequestError,
              lambda: create(model="petit", messages=QUESTION, temperature=9))
    check(e.param == "temperature" and e.type == "invalid_request_error", e)
    e = fails(openai.BadRequestError, lambda: create(model="petit", messages=[]))
    check(e.param == "messages", e)
    e = fails(openai.BadRequestError, lambda: create(
        model="petit", messages=[{"role": "user", "content": "x " * 5000}]))
    check(e.code == "context_length_exceeded", e)
    e = fails(openai.BadRequestError, lambda: create(model="petit", messages=QUESTION, n=2))
    check(e.param == "n", e)
    other = openai.OpenAI(base_url=f"http://{address}/v1", api_key="wrong", max_retries=0)
    e = fails(openai.AuthenticationError, lambda: other.models.list())
    check(e.code == "invalid_api_key", e)


async def ask_stream(client, i):
    stream = await client.chat.completions.create(
        model="petit", stream=True, max_tokens=8 + 4 * i, temperature=(0, 0.8)[i % 2], seed=i,
        messages=[{"role": "user", "content": f"How much is {i}+{3 * i}?" * (1 + i % 4)}],
        logprobs=True, top_logprobs=2, extra_body={"ignore_eos": i % 3 == 0})
    return [(c.delta.model_dump(), c.finish_reason, c.logprobs and c.logprobs.model_dump())
            async for chunk in stream for c in chunk.choices]


async def test_concurrent(address):
    client = openai.AsyncOpenAI(base_url=f"http://{address}/v1", api_key=KEY, max_retries=0)
    alone = [await ask_stream(client, i) for i in range(32)]
    together = await asyncio.gather(*(ask_stream(client, i) for i in range(32)))
    for i, (a, b) in enumerate(zip(alone, together)):
        check(a == b, f"stream {i}: alone {a}, together {b}")
    await client.close()


with serving(MTK, MODEL, "--name", "petit", "--api-key", KEY) as server:
    api = openai.OpenAI(base_url=f"http://{server.address}/v1", api_key=KEY, max_retries=0)
    for test in (test_chat, test_seed, test_stop, test_logprobs, test_tools):
        test(api)
        print("ok", test.__name__, flush=True)
    test_errors(api, server.address)
    print("ok test_errors", flush=True)
    asyncio.run(test_concurrent(server.address))
    print(f"ok test_concurrent (openai {openai.__version__})")
    api.close()
