#!/usr/bin/env python3
"""The peer that people glue together today: paho-mqtt and llama-cpp-python in one script.

    bridge.py --model FILE --port PORT [--node NAME] [--threads N] [--context N]

Same topics and payloads as promptd, as far as such a script goes: it takes `promptd/<node>/request/generate/<client>`,
answers on `promptd/<node>/response/<client>/<id>` and publishes the retained `promptd/<node>/status` once it is ready.
One lock around the model, since llama_cpp.Llama serves one caller at a time. Every other setting is the library's default.
`ignore_eos` is not honoured: llama-cpp-python can only do it with a Python callback for each token, which would slow the
peer down. The load generator's prompts ask for long answers, and it reports how many ended early.
"""
import argparse
import json
import threading
import time

import paho.mqtt.client as mqtt
from llama_cpp import Llama

args = argparse.ArgumentParser(description="MQTT bridge around llama-cpp-python")
args.add_argument("--model", required=True)
args.add_argument("--port", type=int, required=True)
args.add_argument("--node", default="bench")
args.add_argument("--threads", type=int, default=2)
args.add_argument("--context", type=int, default=1024)
args = args.parse_args()

root = f"promptd/{args.node}"
llm = Llama(args.model, n_ctx=args.context, n_threads=args.threads, n_threads_batch=args.threads, verbose=False)
model_lock = threading.Lock()
client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id="bridge", protocol=mqtt.MQTTv5)


def answer(topic, payload):
    received = time.perf_counter()
    reply = {"event": "error", "code": "invalid_request"}
    request = {}
    try:
        request = json.loads(payload)
        with model_lock:
            started = time.perf_counter()
            # The chat template is applied, as promptd does for `generate`.
            done = llm.create_chat_completion(
                [{"role": "user", "content": request["prompt"]}],
                max_tokens=request.get("max_tokens", 128),
                temperature=request.get("temperature", 0.8),
            )
        usage = done["usage"]
        reply = {
            "event": "result",
            "id": request["id"],
            "output": done["choices"][0]["message"]["content"],
            "finish": done["choices"][0]["finish_reason"],
            "usage": {"prompt_tokens": usage["prompt_tokens"], "generated_tokens": usage["completion_tokens"]},
            "timings": {
                "queue_ms": (started - received) * 1e3,
                "total_ms": (time.perf_counter() - received) * 1e3,
            },
        }
    except Exception as error:
        reply["message"] = repr(error)
    name = topic.rsplit("/", 1)[1]
    client.publish(f"{root}/response/{name}/{request.get('id', 'none')}", json.dumps(reply), qos=1)


client.on_connect = lambda *_: client.subscribe(f"{root}/request/generate/+", qos=1)
client.on_subscribe = lambda *_: client.publish(f"{root}/status", '{"state":"ready"}', qos=1, retain=True)
client.on_message = lambda _c, _u, m: threading.Thread(target=answer, args=(m.topic, m.payload), daemon=True).start()
client.connect("127.0.0.1", args.port)
client.loop_forever()
