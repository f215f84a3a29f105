"""Every field of a request, by what it does, and every kind of reply."""
import datetime
import json
import re

from clients import NODE, PATIENCE, check

# A schema that the model can end.
YES_OR_NO = {"type": "object", "properties": {"yes": {"type": "boolean"}}, "required": ["yes"], "additionalProperties": False}

# What checks what; each is called with a device.
CHECKS = []
CHECKED = set()


def field(*names):
    """This function checks these fields."""

    def remember(function):
        CHECKS.append((", ".join(names), function))
        CHECKED.update(names)
        return function

    return remember


def documented(readme):
    """The fields in the README's table of requests."""
    table = readme.split("| field | meaning | default |")[1].split("\n\n")[0]
    names = re.findall(r"^\| (.*?) \|", table, re.MULTILINE)
    return {name for cell in names for name in re.findall(r"`([a-z_]+)…?`", cell)}


def text(device, **request):
    """The output of a short answer."""
    return device.result("generate", **{"prompt": "Count to ten.", "max_tokens": 12, **request})["output"]


@field("id")
def the_id_names_the_answer_and_a_retry_gets_the_same(device):
    request = {"id": "mine", "prompt": "A word?", "max_tokens": 20, "temperature": 5, "ignore_eos": True}
    first = device.result("generate", **request)
    check(first == device.result("generate", **request), "another answer for the same request")
    device.error("id_conflict", "generate", id="mine", prompt="Another word?")
    device.send("generate", {"prompt": "Hi", "max_tokens": 1})
    message = device.next()
    made = json.loads(message.payload)["id"]
    check(made and message.topic == f"{NODE}/response/{device.user}/{made}", message.topic)


@field("input", "prompt", "messages", "inputs")
def the_text_comes_in_one_of_four_ways(device):
    same = {text(device, prompt="Name a colour."), device.result("generate", input="Name a colour.", max_tokens=12)["output"]}
    messages = [{"role": "user", "content": "Name a colour."}]
    same.add(device.result("chat", messages=messages, max_tokens=12)["output"])
    check(len(same) == 1, "the same text and other answers:", same)
    each = device.result("generate", inputs=["Name a colour.", ""], max_tokens=12)["output"]
    check({each[0]["output"]} == same and each[1]["error"]["code"] == "invalid_request", each)
    device.error("invalid_request", "generate", prompt="a", input="b")
    # A payload that is no object is the text.
    device.send("generate", "Name a colour.")
    check(json.loads(device.next().payload)["event"] == "result", "a plain text is a request")


@field("model")
def a_model_is_asked_by_its_name(device):
    check(device.result("generate", prompt="Hi", max_tokens=1, model="main")["model"] == "main")
    known = device.error("unknown_model", "generate", prompt="Hi", model="huge")["message"]
    check("main" in known and "embedder" in known, known)


@field("session", "reset")
def a_session_is_gone_on_with_and_begun_anew(device):
    turns = [device.result("chat", session="hall", input="Hi", max_tokens=2)["session"]["turns"] for _ in range(2)]
    anew = device.result("chat", session="hall", input="Hi", max_tokens=2, reset=True)["session"]["turns"]
    check((turns, anew) == ([1, 2], 1), turns, anew)


@field("stream")
def deltas_make_the_answer(device):
    *deltas, result = device.ask("generate", prompt="Count.", max_tokens=10, ignore_eos=True, stream=True)
    check([delta["seq"] for delta in deltas] == list(range(len(deltas))), deltas)
    check(all(delta["event"] == "delta" and delta["index"] == 0 for delta in deltas), deltas)
    check("".join(delta["text"] for delta in deltas) == result["output"] and result["deltas"] == len(deltas), result)


@field("ack")
def accepted_comes_first(device):
    accepted, result = device.ask("generate", prompt="Hi", max_tokens=1, ack=True)
    check(accepted["event"] == "accepted" and accepted["position"] == 0 and result["event"] == "result", accepted)


@field("parts", "logprobs")
def what_the_broker_does_not_take_whole_comes_in_parts(device):
    large = {"prompt": "Count.", "max_tokens": 80, "ignore_eos": True, "logprobs": 5}
    device.error("result_too_large", "generate", **large)
    parts = device.ask("generate", parts=True, **large)
    check([(part["event"], part["seq"]) for part in parts] == [("part", seq) for seq in range(len(parts))], parts[0])
    result = json.loads("".join(part["text"] for part in parts))
    check(len(parts) > 1 and result["event"] == "result" and result["id"] == parts[0]["id"], parts[0])
    check(len(result["logprobs"]) == 80 and len(result["logprobs"][0]["top"]) == 5, result["logprobs"][0])


@field("reply")
def a_text_is_the_output_alone(device):
    expected = text(device)
    device.send("generate", {"prompt": "Count to ten.", "max_tokens": 12, "reply": "text"})
    message = device.next()
    check(message.payload.decode() == expected and message.properties.ContentType == "text/plain", message.payload)
    device.send("generate", {"prompt": "Hi", "model": "none", "reply": "text"})
    check(device.next().payload == b"error: unknown_model", "the error's code alone")


@field("reply_to")
def the_answer_goes_where_it_is_wanted(device):
    own = f"{NODE}/response/{device.user}"
    request = {"prompt": "Hi", "max_tokens": 1, "reply_to": f"{own}/field"}
    device.send("generate", request)
    check(device.next().topic == f"{own}/field", "the field")
    device.send("generate", request, ResponseTopic=f"{own}/property")
    check(device.next().topic == f"{own}/property", "the property comes first")
    device.error("reply_forbidden", "generate", prompt="Hi", reply_to=f"{NODE}/response/other/1")
    device.error("reply_forbidden", "generate", prompt="Hi", reply_to="elsewhere")


@field("ref", "x_")
def what_marks_a_request_is_echoed_in_every_message(device):
    for document in device.ask("generate", prompt="Hi", max_tokens=2, ref="r", x_line={"n": 7}, ack=True, stream=True):
        check(document["ref"] == "r" and document["x_line"] == {"n": 7}, document)
    device.send("generate", {"prompt": "Hi", "max_tokens": 1}, CorrelationData=b"\0\xff")
    check(device.next().properties.CorrelationData == b"\0\xff", "the Correlation Data")


@field("priority")
def an_urgent_job_comes_before_others(device):
    def job(id, tokens, priority):
        request = {"id": id, "prompt": "Count.", "max_tokens": tokens, "ignore_eos": True, "priority": priority}
        device.send("generate", request)

    # One for each sequence, and behind them one of each class.
    for number in range(2):
        job(f"busy{number}", 150, "normal")
    job("low", 2, "low")
    job("normal", 2, "normal")
    job("high", 2, "high")
    ended = [json.loads(device.next().payload)["id"] for _ in range(5)]
    waited = [id for id in ended if not id.startswith("busy")]
    check(waited == ["high", "normal", "low"], ended)


@field("deadline_ms")
def what_is_late_is_worthless(device):
    long = {"prompt": "Count.", "max_tokens": 1500, "ignore_eos": True}
    device.error("deadline_exceeded", "generate", deadline_ms=300, **long)
    device.send("generate", {"id": "expires", **long}, MessageExpiryInterval=1)
    check(device.about("expires")[-1]["code"] == "deadline_exceeded", "the message's expiry counts, too")


@field("sent_at")
def a_deadline_counts_from_when_the_request_was_sent(device):
    def ago(seconds):
        time = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(seconds=seconds)
        return time.strftime("%Y-%m-%dT%H:%M:%SZ")

    device.error("deadline_exceeded", "generate", prompt="Hi", deadline_ms=60_000, sent_at=ago(61))
    device.result("generate", prompt="Hi", max_tokens=1, deadline_ms=60_000 + 1000 * PATIENCE, sent_at=ago(30))
    device.error("invalid_request", "generate", prompt="Hi", sent_at=ago(-60))


@field("max_tokens", "ignore_eos", "max_bytes", "stop")
def an_answer_ends_where_it_shall(device):
    result = device.result("generate", prompt="Hi", max_tokens=7, ignore_eos=True)
    check(result["finish"] == "length" and result["usage"]["generated_tokens"] == 7, result)
    result = device.result("generate", prompt="Count to ten.", max_tokens=20, max_bytes=5)
    check(result["finish"] == "truncated" and len(result["output"].encode()) <= 5, result)
    whole = text(device, max_tokens=20)
    word = whole.split()[2]
    result = device.result("generate", prompt="Count to ten.", max_tokens=20, stop=[word])
    check(result["finish"] == "stop" and result["output"] == whole[: whole.index(word)], whole, result)


@field("temperature", "seed", "top_k", "top_p", "min_p", "repeat_penalty")
def sampling_is_as_in_llama_cpp(device):
    wild = {"temperature": 8, "top_k": 0, "top_p": 1, "min_p": 0, "ignore_eos": True}
    greedy = text(device, ignore_eos=True)
    seeds = [text(device, seed=seed, **wild) for seed in (1, 1, 2)]
    check(seeds[0] == seeds[1] != seeds[2], seeds)
    # Each of these leaves the most likely token only.
    for narrow in ({"top_k": 1}, {"top_p": 0}, {"min_p": 1}):
        check(text(device, seed=1, **{**wild, **narrow}) == greedy != seeds[0], narrow)
    repeated = {"prompt": "Say a a a a a a a a", "max_tokens": 24, "ignore_eos": True}
    check(text(device, repeat_penalty=10, **repeated) != text(device, **repeated), "a penalty changes nothing")


@field("schema", "choices", "regex")
def an_answer_has_the_form_that_is_asked_for(device):
    result = device.result("generate", prompt="Is fire hot?", schema=YES_OR_NO, max_tokens=60)
    check(result["finish"] == "schema" and isinstance(result["output"]["yes"], bool), result)
    result = device.result("generate", prompt="Is fire hot?", choices=["yes", "no"])
    check(result["finish"] == "choice" and result["output"] in ("yes", "no"), result)
    result = device.result("generate", prompt="What time is it?", regex="[0-9]{2}:[0-9]{2}")
    check(result["finish"] == "schema" and re.fullmatch("[0-9]{2}:[0-9]{2}", result["output"]), result)
    device.error("invalid_schema", "generate", prompt="Hi", regex="(")


@field("labels", "types", "question", "context", "documents", "encoding", "target_language", "sentences")
def tasks_have_fields_of_their_own(device):
    scores = device.result("classify", input="What a lovely day!", labels=["good", "bad"])["output"]
    check({score["label"] for score in scores} == {"good", "bad"} and scores[0]["score"] >= scores[1]["score"], scores)
    input = "Ada Lovelace was born in London."
    for entity in device.result("extract", input=input, types=["person", "place"])["output"]:
        check(entity["text"] == input[entity["start"] : entity["end"]] and entity["type"] in ("person", "place"), entity)
    context = "The valve was replaced on Monday."
    answer = device.result("answer", question="When was the valve replaced?", context=context)["output"]
    check(answer["text"] is None or answer["text"] == context[answer["start"] : answer["end"]], answer)
    ranked = device.result("rerank", input="a hot bearing", documents=["The bearing is hot.", "A cat sleeps."])["output"]
    check([document["index"] for document in ranked] == [0, 1], ranked)
    array = device.result("embed", input="warm", encoding="array")["output"]
    check(array["encoding"] == "array" and len(array["data"]) == array["dim"], array["dim"])
    check(device.result("embed", input="warm")["output"]["encoding"] == "f32le_base64", "the default")
    device.result("translate", input="Good day", target_language="French", max_tokens=10)
    device.result("summarize", input="The pump is blue. It is in hall 3.", sentences=1, max_tokens=10)


@field("steps", "output", "fields")
def steps_of_a_pipeline_are_told(device):
    steps = [
        {"name": "colour", "task": "generate", "input": "{{ input }} {{ thing }}?", "max_tokens": 3},
        {"name": "again", "task": "generate", "input": "{{ steps.colour.output }}", "max_tokens": 3},
    ]
    request = {"steps": steps, "input": "A colour of", "fields": {"thing": "snow"}, "output": {"is": "{{ steps.again.output }}"}}
    *told, result = device.ask("pipeline", ack=True, **request)
    progress = [(step["step"], step["state"]) for step in told if step["event"] == "progress"]
    check([state for step, state in progress if step == "colour"] == ["running", "ended"], told)
    check(set(result["output"]) == {"is"}, result)


def run(device, readme):
    missing = documented(readme) - CHECKED
    check(not missing, "fields that the README has and nothing here checks:", missing)
    for name, function in CHECKS:
        function(device)
        check(not device.now(), name, "something came that nobody asked for")
        print(f"ok  {device.user}: {name}", flush=True)
