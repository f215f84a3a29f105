#!/usr/bin/env python3
"""Load generator: one process, many logical clients, closed loop. Prints one JSON object.

    load.py ready --port P                     wait for the retained status "ready"
    load.py mqtt  --port P -c 8 -r 3           promptd or bridge.py over MQTT 5, QoS 1
    load.py http  --port P -c 8 -r 3           llama-server
    load.py rtt   --port P -n 200              one-token requests one after another: what MQTT adds
    load.py echo  --port P -n 200              a message to oneself: what the broker and this client cost

C requests are in flight at any time until each logical client has had R answers. Throughput counts the tokens of the
replies over the wall time from the first request to the last reply, so prompt processing and queueing are included.

The prompts: about 48 tokens each, all different from the first word on. promptd and bridge.py apply the model's chat
template to them. llama-server gets the same text: its own /apply-template renders the prompt before the measurement, and
/completion then takes it (unlike /v1/chat/completions it spends nothing on parsing the answer as a chat message).
`prompt_tokens` in the output shows that all of them read equally many tokens.
"""
import argparse
import http.client
import json
import os
import random
import socket
import statistics
import sys
import threading
import time

WORDS = (
    "water pump valve motor sensor tank fan meter gate filter heater belt door lamp drive press wheel engine bridge "
    "river road train ship garden forest winter summer morning evening market school doctor farmer teacher window table "
    "paper stone metal glass wood cotton bread milk sugar coffee apple horse bird fish mountain valley island harbor"
).split()
TOKENS = 64


def prompt(seed, words=30):
    """About 48 tokens of English; different seeds give different text from the first word on."""
    rng = random.Random(seed)
    return (
        " ".join(rng.choice(WORDS) for _ in range(words))
        + ". Write a very long and detailed story that has all of these things in it."
    )


def percentile(values, share):
    values = sorted(values)
    return values[min(len(values) - 1, int(share * len(values)))]


def spread(values):
    return {
        "p50": round(statistics.median(values), 3),
        "p95": round(percentile(values, 0.95), 3),
        "max": round(max(values), 3),
    }


class Tally:
    """What came back."""

    def __init__(self, tokens):
        self.tokens = tokens
        self.generated = self.cached = self.early = self.deltas = 0
        self.prompt_tokens, self.latency, self.first = [], [], []

    def add(self, latency, first, prompt_tokens, cached, generated):
        self.latency.append(latency * 1e3)
        if first is not None:
            self.first.append(first * 1e3)
        self.prompt_tokens.append(prompt_tokens)
        self.cached += cached
        self.generated += generated
        self.early += generated < self.tokens

    def report(self, wall):
        out = {
            "requests": len(self.latency),
            "wall_s": round(wall, 3),
            "generated_tokens": self.generated,
            "total_tokens_per_second": round(self.generated / wall, 2),
            "latency_ms": spread(self.latency),
            "prompt_tokens": round(statistics.mean(self.prompt_tokens), 1),
            "cached_tokens": self.cached,
            "ended_early": self.early,
        }
        if self.first:
            out["time_to_first_token_ms"] = spread(self.first)
            out["deltas"] = self.deltas
        return out


class Mqtt:
    """One MQTT 5 connection, driven by hand: no thread of its own stands between the socket and the clock."""

    def __init__(self, args):
        import paho.mqtt.client as mqtt

        self.deadline = time.monotonic() + args.timeout
        self.root = f"promptd/{args.node}"
        self.state = None
        self.on_reply = lambda topic, body: None
        self.ok = mqtt.MQTT_ERR_SUCCESS
        self.subscribed = False
        self.client = mqtt.Client(
            mqtt.CallbackAPIVersion.VERSION2, client_id=f"load-{os.getpid()}", protocol=mqtt.MQTTv5
        )
        self.client.max_inflight_messages_set(1000)
        self.client.on_socket_open = lambda _c, _u, s: s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.client.on_subscribe = lambda *_: setattr(self, "subscribed", True)
        self.client.on_message = self._message
        self.client.connect("127.0.0.1", args.port)
        while not self.client.is_connected():
            self.turn()
        self.client.subscribe([(f"{self.root}/response/#", 1), (f"{self.root}/status", 1), ("load/echo", 1)])
        while not self.subscribed:
            self.turn()

    def _message(self, _client, _userdata, message):
        if message.topic == f"{self.root}/status":
            self.state = json.loads(message.payload or b"{}").get("state")
        else:
            self.on_reply(message.topic, message.payload)

    def turn(self):
        if time.monotonic() > self.deadline:
            raise TimeoutError("time is up")
        if self.client.loop(0.2) != self.ok:
            raise ConnectionError("the broker closed the connection")

    def wait_ready(self):
        while self.state != "ready":
            self.turn()

    def publish(self, topic, payload):
        self.client.publish(topic, payload, qos=1)

    def request(self, client, request):
        self.publish(f"{self.root}/request/generate/{client}", json.dumps(request))


def run_ready(args):
    started = time.monotonic()
    Mqtt(args).wait_ready()
    return {"ready_s": round(time.monotonic() - started, 3)}


def mqtt_pass(link, args, rounds, tokens, seed):
    tally = Tally(tokens)
    run = f"{os.getpid()}-{time.time_ns()}"
    left = {f"c{i}": rounds for i in range(args.concurrency)}
    open_requests = {}

    def send(client):
        left[client] -= 1
        number = len(tally.latency) + len(open_requests)
        ident = f"{run}-{number}"
        body = {
            "id": ident,
            "prompt": prompt(seed + number),
            "max_tokens": tokens,
            "ignore_eos": True,
            "temperature": 0,
        }
        if args.stream:
            body["stream"] = True
        open_requests[ident] = [client, time.perf_counter(), None]
        link.request(client, body)

    def reply(_topic, payload):
        now = time.perf_counter()
        body = json.loads(payload)
        entry = open_requests.get(body.get("id"))
        if entry is None:
            return
        event = body.get("event")
        if event == "delta":
            tally.deltas += 1
            if entry[2] is None:
                entry[2] = now
        elif event == "error":
            raise RuntimeError(f"request refused: {payload[:300]!r}")
        elif event == "result":
            del open_requests[body["id"]]
            client, sent, first = entry
            usage = body["usage"]
            if args.stream and first is None:
                first = now
            tally.add(
                now - sent,
                first - sent if first else None,
                usage["prompt_tokens"],
                usage.get("cached_tokens", 0),
                usage["generated_tokens"],
            )
            if left[client]:
                send(client)

    link.on_reply = reply
    started = time.perf_counter()
    for client in left:
        send(client)
    while open_requests:
        link.turn()
    return tally.report(time.perf_counter() - started)


def run_mqtt(args):
    link = Mqtt(args)
    link.wait_ready()
    mqtt_pass(link, args, 1, 4, args.seed + 500_000)  # warm-up, not counted
    return mqtt_pass(link, args, args.rounds, args.tokens, args.seed)


def run_rtt(args):
    """Client-side round trip less `timings.total_ms` of the reply, in milliseconds."""
    link = Mqtt(args)
    link.wait_ready()
    run = f"{os.getpid()}-{time.time_ns()}"
    added, trips, whole = [], [], True
    for number in range(args.number + 10):
        got = []
        link.on_reply = lambda _topic, payload: got.append((time.perf_counter(), payload))
        body = {"id": f"{run}-{number}", "prompt": prompt(args.seed + number, 2), "max_tokens": 1, "temperature": 0}
        sent = time.perf_counter()
        link.request("c0", body)
        while not got:
            link.turn()
        reply = json.loads(got[0][1])
        if reply["event"] != "result":
            raise RuntimeError(f"request refused: {got[0][1][:300]!r}")
        total = reply["timings"]["total_ms"]
        if number >= 10:
            trips.append((got[0][0] - sent) * 1e3)
            added.append(trips[-1] - total)
            whole = whole and float(total).is_integer()
    return {
        "requests": len(added),
        "added_ms": spread(added),
        "round_trip_ms": spread(trips),
        "total_ms_is_whole": whole,
    }


def run_echo(args):
    link = Mqtt(args)
    body = json.dumps({"id": "0", "prompt": prompt(0, 2), "max_tokens": 1, "temperature": 0})
    trips = []
    for number in range(args.number + 10):
        got = []
        link.on_reply = lambda _topic, _payload: got.append(time.perf_counter())
        sent = time.perf_counter()
        link.publish("load/echo", body)
        while not got:
            link.turn()
        if number >= 10:
            trips.append((got[0] - sent) * 1e3)
    return {"requests": len(trips), "round_trip_ms": spread(trips)}


class Http:
    """A keep-alive connection to llama-server."""

    def __init__(self, args):
        self.connection = http.client.HTTPConnection("127.0.0.1", args.port, timeout=args.timeout)
        self.connect()

    def connect(self):
        self.connection.close()
        self.connection.connect()
        self.connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def post(self, path, body):
        self.connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
        response = self.connection.getresponse()
        if response.status != 200:
            raise RuntimeError(f"{path}: {response.status} {response.read(300)!r}")
        return response

    def complete(self, text, tokens, stream, cache):
        sent = time.perf_counter()
        first, deltas = None, 0
        body = {
            "prompt": text,
            "n_predict": tokens,
            "ignore_eos": True,
            "temperature": 0,
            "cache_prompt": cache,
            "stream": stream,
        }
        response = self.post("/completion", body)
        if stream:
            last = {}
            for line in response:
                if line.startswith(b"data: ") and line[6:7] == b"{":
                    if first is None:
                        first = time.perf_counter()
                    deltas += 1
                    last = json.loads(line[6:])
            response.read()
        else:
            last = json.loads(response.read())
        done = time.perf_counter()
        if stream:
            self.connect()  # llama-server closes the connection after a stream without saying so
        timings = last["timings"]
        cached = timings.get("cache_n", 0)
        return (
            done - sent,
            first - sent if first else None,
            timings["prompt_n"] + cached,
            cached,
            last["tokens_predicted"],
        ), deltas


def http_pass(args, rounds, tokens, seed):
    tally = Tally(tokens)
    lock = threading.Lock()
    failures = []
    total = args.concurrency * rounds
    setup = Http(args)
    texts = []
    for number in range(total):
        message = {"role": "user", "content": prompt(seed + number)}
        texts.append(json.loads(setup.post("/apply-template", {"messages": [message]}).read())["prompt"])
    links = [Http(args) for _ in range(args.concurrency)]
    barrier = threading.Barrier(args.concurrency + 1)

    def work(index):
        try:
            barrier.wait(30)
            for number in range(index, total, args.concurrency):
                got, deltas = links[index].complete(texts[number], tokens, args.stream, args.cache_prompt)
                with lock:
                    tally.add(*got)
                    tally.deltas += deltas
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(i,), daemon=True) for i in range(args.concurrency)]
    for thread in threads:
        thread.start()
    barrier.wait(30)
    started = time.perf_counter()
    deadline = time.monotonic() + args.timeout
    for thread in threads:
        thread.join(max(0, deadline - time.monotonic()))
        if thread.is_alive():
            raise TimeoutError("time is up")
    wall = time.perf_counter() - started
    if failures:
        raise failures[0]
    return tally.report(wall)


def run_http(args):
    http_pass(args, 1, 4, args.seed + 500_000)  # warm-up, not counted
    return http_pass(args, args.rounds, args.tokens, args.seed)


def main():
    parser = argparse.ArgumentParser(description="closed-loop load over MQTT or HTTP")
    parser.add_argument("what", choices=["ready", "mqtt", "http", "rtt", "echo"])
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--node", default="bench")
    parser.add_argument("-c", "--concurrency", type=int, default=8)
    parser.add_argument("-r", "--rounds", type=int, default=3, help="answers for each logical client")
    parser.add_argument("-n", "--number", type=int, default=200, help="requests of rtt and echo")
    parser.add_argument("--tokens", type=int, default=TOKENS)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--stream", action="store_true")
    parser.add_argument("--cache-prompt", action="store_true", help="http: let llama-server reuse prompt prefixes")
    parser.add_argument("--timeout", type=float, default=300, help="seconds for the whole run")
    args = parser.parse_args()
    try:
        print(json.dumps(globals()[f"run_{args.what}"](args)))
    except Exception as error:
        print(json.dumps({"error": repr(error)}))
        sys.exit(1)


if __name__ == "__main__":
    main()
