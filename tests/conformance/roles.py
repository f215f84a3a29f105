"""Every topic, by what each role of packaging/mosquitto may do there and what comes of it."""
import json

from clients import NODE, NOT_AUTHORIZED, Client, Device, check

# Verbs of operators that change nothing for long, in their order, and what is asked of them.
VERBS = [
    ("status", {}),
    ("info", {}),
    ("models", {}),
    ("tasks", {}),
    ("diagnose", {}),
    ("jobs", {}),
    ("fetch", {"client": "dev"}),
    ("cancel", {"client": "dev"}),
    ("forget", {"client": "dev"}),
    ("drain", {}),
    ("resume", {}),
    ("reload", {}),
    ("unload", {"model": "embedder"}),
    ("load", {"model": "embedder"}),
    ("switch", {"model": "embedder", "strategy": "cpu:f16"}),
]

DOCUMENTS = {"availability", "status", "info", "model/main", "model/embedder", "health"}


def refused(client, *topics):
    """The broker takes nothing of a client there, and says so."""
    for topic in topics:
        reason = client.publish(topic, "{}")
        check(reason == NOT_AUTHORIZED, client.user, "may publish on", topic, reason)


def heard(client, until):
    """The topics of what comes until one of them is `until`."""
    topics = []
    while until not in topics:
        message = client.next()
        check(message is not None, client.user, "hears nothing on", until, "but", topics)
        topics.append(message.topic)
    return topics


def device(broker):
    """Asks, cancels and hears of its own jobs; of others it neither reads nor writes anything."""
    dev, spy = Device(broker, "dev"), Device(broker, "spy")
    dev.subscribe(f"{NODE}/jobs/dev/#")
    for topic in ("#", f"{NODE}/response/dev/#", "promptd/+/request/#", f"{NODE}/status"):
        spy.subscribe(topic)
    dev.send("generate", {"id": "long", "prompt": "Count.", "max_tokens": 1500, "ignore_eos": True})
    heard(dev, f"{NODE}/jobs/dev/long")
    refused(dev, f"{NODE}/request/generate/spy", f"{NODE}/request/generate", f"{NODE}/cancel/spy", f"{NODE}/control/drain")
    refused(dev, *(f"{NODE}/{topic}" for topic in [*DOCUMENTS, "event", "telemetry", "response/dev/long", "jobs/dev/long"]))
    refused(dev, "promptd/group/hall/request/generate/spy", "promptd/group/hall/control/drain", "plant/plc/text")
    refused(spy, f"{NODE}/cancel/dev")
    check(dev.publish(f"{NODE}/cancel/dev", {"id": "long"}) == 0, "a device may cancel")
    ended = None
    while ended is None:
        message = dev.next()
        document = json.loads(message.payload)
        ended = document if message.topic.startswith(f"{NODE}/response/") else None
    check(ended["code"] == "cancelled", ended)
    # A group is asked like a node; whoever takes it names itself.
    check(dev.publish("promptd/group/hall/request/generate/dev", {"id": "g", "prompt": "Hi", "max_tokens": 1}) == 0)
    topics = heard(dev, f"{NODE}/response/dev/g")
    check(f"{NODE}/jobs/dev/g" in topics or f"{NODE}/jobs/dev/g" in heard(dev, f"{NODE}/jobs/dev/g"), topics)
    for kind in ("request", "cancel"):
        topic = f"{NODE}/request/generate/dev" if kind == "request" else f"{NODE}/cancel/dev"
        dev.now()
        check(dev.publish(topic, {"id": "kept", "prompt": "Hi"}, retain=True) == 0, "the broker takes it")
        while True:
            message = dev.next()
            if message.topic.startswith(f"{NODE}/response/"):
                break
        check(json.loads(message.payload)["code"] == "retained", message.payload)
        dev.publish(topic, b"", retain=True)
        while not dev.next().topic.startswith(f"{NODE}/response/"):
            pass
    # Its own answer comes behind all that could have come before.
    spy.result("generate", prompt="Hi", max_tokens=1)
    check(all("/spy/" in message.topic for message in spy.now()), "a device reads what is another's")
    dev.close()
    spy.close()


def monitor(broker):
    """Reads what nodes say about themselves, and nothing else."""
    mon, dev = Client(broker, "mon"), Device(broker, "dev")
    for topic in ("#", f"{NODE}/response/dev/#", f"{NODE}/jobs/#"):
        mon.subscribe(topic)
    refused(mon, f"{NODE}/request/generate/mon", f"{NODE}/cancel/mon", f"{NODE}/control/drain", f"{NODE}/status")
    wanted = {f"{NODE}/{document}" for document in DOCUMENTS} | {f"{NODE}/telemetry"}
    topics = set()
    while not wanted <= topics:
        message = mon.next()
        check(message is not None, "a monitor hears nothing of", wanted - topics)
        topics.add(message.topic)
        kind = message.topic.removeprefix(f"{NODE}/")
        if kind == "availability":
            check(message.payload == b"online", message.payload)
        else:
            json.loads(message.payload)
            check(len(message.payload) < 4096, kind, "has", len(message.payload), "bytes")
    dev.result("generate", prompt="Hi", max_tokens=1)
    own = {f"{NODE}/{document}" for document in DOCUMENTS | {"telemetry", "event"}}
    topics |= {message.topic for message in mon.now()}
    check(topics <= own, "a monitor reads", topics - own)
    mon.close()
    dev.close()


def operator(broker):
    """Does everything that there is to do, hears its answers, and is no client."""
    alice, mon = Client(broker, "alice"), Client(broker, "mon")
    alice.subscribe(f"{NODE}/response/control/#")
    mon.subscribe(f"{NODE}/event")
    events = {"progress": 0, "result": 0}
    for number, (verb, fields) in enumerate(VERBS):
        check(alice.publish(f"{NODE}/control/{verb}", {"id": f"op{number}", **fields}) == 0, verb)
        event = "progress"
        while event == "progress":
            message = alice.next()
            check(message is not None, "no answer to", verb)
            document = json.loads(message.payload)
            check(message.topic == f"{NODE}/response/control/op{number}" and document.get("verb") == verb, verb, document)
            event = document["event"]
            events[event] += 1
        check("output" in document, document)
    check(events["progress"] > 0, "a load tells how far it is:", events)
    check(alice.publish("promptd/group/hall/control/status", {"id": "all"}) == 0, "a group hears operators")
    check(json.loads(alice.next().payload)["verb"] == "status", "a group's control")
    for verb, fields, code in [("reboot", {}, "invalid_request"), ("load", {"model": "huge"}, "unknown_model")]:
        alice.publish(f"{NODE}/control/{verb}", fields)
        document = json.loads(alice.next().payload)
        check((document["event"], document["code"]) == ("error", code), verb, document)
    check(any(json.loads(message.payload)["event"] == "unloaded" for message in mon.now()), "events tell of models")
    refused(alice, f"{NODE}/request/generate/alice", f"{NODE}/cancel/alice", f"{NODE}/status", f"{NODE}/response/control/x")
    alice.close()
    mon.close()


def binding(broker):
    """A device whose topics cannot change: what it publishes is answered on the topic that it reads."""
    plc = Client(broker, "plc")
    plc.subscribe("plant/plc/answer")
    check(plc.publish("plant/plc/text", "Name a colour.") == 0, "a binding's device may publish its values")
    message = plc.next()
    check(message is not None and message.topic == "plant/plc/answer" and message.payload, "no answer")
    refused(plc, "plant/plc/answer", "plant/other/text", f"{NODE}/request/generate/plc", f"{NODE}/control/drain")
    plc.close()


def node(broker):
    """Another node: its own topics are its own, and it shares what its groups are asked."""
    gw2 = Client(broker, "gw2")
    for topic in ("request/generate", "response/dev/1", "status", "model/main", "jobs/dev/1", "telemetry"):
        check(gw2.publish(f"promptd/gw2/{topic}", "{}") in (0, 16), topic)
        refused(gw2, f"{NODE}/{topic}")
    refused(gw2, "promptd/group/hall/request/generate/dev", "promptd/group/hall/control/drain", "plant/plc/answer")
    gw2.subscribe("promptd/group/+/request/+/+")
    gw2.subscribe(f"{NODE}/#")
    dev = Device(broker, "dev")
    dev.publish("promptd/group/hall/request/generate/dev", {"id": "shared", "prompt": "Hi", "max_tokens": 1})
    dev.about("shared")
    shared = "promptd/group/hall/request/generate/dev"
    topics = set(heard(gw2, shared)) | {message.topic for message in gw2.now()}
    check(topics == {shared}, "another node reads", topics)
    gw2.close()
    dev.close()


def run(broker):
    for role in (device, monitor, operator, binding, node):
        role(broker)
        print(f"ok  role {role.__name__}: {role.__doc__}", flush=True)
