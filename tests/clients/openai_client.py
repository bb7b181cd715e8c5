"""Drives a node with the unmodified official OpenAI client. Every claim is an assertion; what was billed is printed.

The client finds the node as it finds any other server: by OPENAI_BASE_URL and OPENAI_API_KEY. POOR_KEY is the key of a
project that can pay for nothing.
"""

import asyncio
import concurrent.futures
import json
import math
import os
import threading

import openai

MODEL = "scripted"  # It answers with the last message; a token is a word.
WORDS = "one two three four five"
billed = {"chat": 0, "embed": 0, "receipts": []}
counting = threading.Lock()
client = openai.OpenAI(max_retries=0)


def ask(text=WORDS, client=client, **options):
    completion = client.chat.completions.create(
        model=MODEL, messages=[{"role": "system", "content": "Be brief."}, {"role": "user", "content": text}], **options
    )
    with counting:
        billed["chat"] += 1
        if not options.get("stream"):
            billed["receipts"].append(completion.model_extra["steward"]["receipt"])
    return completion


def models():
    listed = client.models.list()
    assert [model.id for model in listed] == [MODEL], listed
    assert client.models.retrieve(MODEL).id == MODEL
    assert listed.data[0].object == "model", listed


def completions():
    completion = ask()
    choice, usage = completion.choices[0], completion.usage
    assert completion.object == "chat.completion" and completion.model == MODEL, completion
    assert choice.message.role == "assistant" and choice.message.content == WORDS, completion
    assert choice.finish_reason == "stop" and len(completion.choices) == 1, completion
    assert usage.completion_tokens == 5 and usage.prompt_tokens > 5, usage
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens, usage

    cut = ask(max_tokens=2)
    assert cut.choices[0].message.content == "one two", cut
    assert cut.choices[0].finish_reason == "length" and cut.usage.completion_tokens == 2, cut
    cut = ask(max_completion_tokens=3)
    assert cut.choices[0].message.content == "one two three", cut

    for stop in ("three", ["three", "five"]):
        stopped = ask(stop=stop)
        assert stopped.choices[0].message.content.strip() == "one two", stopped
        assert stopped.choices[0].finish_reason == "stop", stopped

    first, second = (ask(seed=7, temperature=1.0, top_p=0.9) for _ in range(2))
    assert first.choices[0].message.content == second.choices[0].message.content
    assert first.id != second.id


def streams():
    chunks = list(ask(stream=True, stream_options={"include_usage": True}))
    assert all(chunk.object == "chat.completion.chunk" for chunk in chunks), chunks
    assert len({chunk.id for chunk in chunks}) == 1, "one completion has one id"
    pieces = [chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices]
    assert "".join(pieces) == WORDS, pieces
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == "stop", chunks
    last = chunks[-1]
    assert last.choices == [] and last.usage.completion_tokens == 5, last

    without = list(ask(stream=True))
    assert all(chunk.usage is None for chunk in without), without

    # The client's own accumulator, which is strict about the order of chunks.
    with client.chat.completions.stream(model=MODEL, messages=[{"role": "user", "content": WORDS}]) as stream:
        final = stream.get_final_completion()
    billed["chat"] += 1
    assert final.choices[0].message.content == WORDS, final

    # Leaving in the middle is no failure: what was made is paid, once.
    with ask("word " * 2000, stream=True) as left:
        next(iter(left))


def embeddings():
    texts = ["a quiet harbour", "a harbour at night", "quarterly figures"]
    raw = client.embeddings.with_raw_response.create(model=MODEL, input=texts)
    billed["embed"] += 1
    assert isinstance(json.loads(raw.text)["data"][0]["embedding"], str), "the client asks for base64, and gets it"
    vectors = [item.embedding for item in raw.parse().data]
    assert [item.index for item in raw.parse().data] == [0, 1, 2]
    assert all(abs(math.hypot(*vector) - 1) < 1e-4 for vector in vectors)
    near, far = (sum(a * b for a, b in zip(vectors[0], other)) for other in vectors[1:])
    assert near > far, (near, far)

    single = client.embeddings.create(model=MODEL, input=texts[0], encoding_format="float")
    billed["embed"] += 1
    assert max(abs(a - b) for a, b in zip(single.data[0].embedding, vectors[0])) < 1e-6
    assert single.usage.prompt_tokens == 3 and single.usage.total_tokens == 3, single.usage


def at_once():
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda number: ask(f"number {number}"), range(24)))
    assert [answer.choices[0].message.content for answer in answers] == [f"number {n}" for n in range(24)]

    async def concurrently():
        async with openai.AsyncOpenAI(max_retries=0) as client:
            create = client.chat.completions.create
            messages = [{"role": "user", "content": WORDS}]
            return await asyncio.gather(*(create(model=MODEL, messages=messages) for _ in range(8)))

    answers = asyncio.run(concurrently())
    billed["chat"] += len(answers)
    assert all(answer.choices[0].message.content == WORDS for answer in answers)


def refused(kind, reason, call, **options):
    try:
        call(**options)
    except kind as error:
        assert error.code == reason.lower(), error.body
        assert error.message, error
        return
    raise AssertionError(f"{reason} was not refused")


def refusals():
    stranger = openai.OpenAI(api_key="stw_nobody_nothing", max_retries=0)
    poor = openai.OpenAI(api_key=os.environ["POOR_KEY"], max_retries=0)
    create = client.chat.completions.create
    messages = [{"role": "user", "content": "hello"}]
    refused(openai.AuthenticationError, "UNAUTHENTICATED", stranger.models.list)
    refused(openai.AuthenticationError, "UNAUTHENTICATED", ask, client=stranger)
    refused(openai.NotFoundError, "MODEL_NOT_FOUND", create, model="gpt-imagined", messages=messages)
    refused(openai.NotFoundError, "MODEL_NOT_FOUND", client.embeddings.create, model="gpt-imagined", input="hello")
    refused(openai.RateLimitError, "BUDGET_EXHAUSTED", ask, client=poor)
    refused(openai.RateLimitError, "BUDGET_EXHAUSTED", ask, client=poor, stream=True)
    refused(openai.BadRequestError, "INVALID_REQUEST", create, model=MODEL, messages=[])
    refused(openai.BadRequestError, "INVALID_REQUEST", create, model=MODEL, messages=messages, temperature=-1)
    refused(openai.BadRequestError, "INVALID_REQUEST", create, model=MODEL, messages=messages, n=2)
    refused(openai.BadRequestError, "CONTEXT_TOO_LONG", ask, text="word " * 9000)


models()
completions()
streams()
embeddings()
at_once()
refusals()
print(json.dumps(billed))
