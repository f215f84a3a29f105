"""Clients as others write them: paho-mqtt, with nothing of promptd's own."""
import json
import queue

import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

NODE = "promptd/gw"

# Longest wait for anything, in seconds: a machine that tests this may be slow and busy.
PATIENCE = 180

# MQTT 5: a PUBACK or PUBREC of what the broker's access control forbids.
NOT_AUTHORIZED = 135


class Failed(Exception):
    """Something is not as the interface has it."""


def check(holds, *told):
    if not holds:
        raise Failed(" ".join(str(part)[:2000] for part in told))


class Client:
    """One connection. `version` is 5 or 4, which is MQTT 3.1.1."""

    def __init__(self, broker, user, version=5):
        self.user = user
        self.messages = queue.Queue()
        # What came while something else was waited for.
        self.aside = []
        self.answers = queue.Queue()
        self.client = mqtt.Client(
            mqtt.CallbackAPIVersion.VERSION2,
            client_id=f"{user}-{id(self)}",
            protocol=mqtt.MQTTv5 if version == 5 else mqtt.MQTTv311,
        )
        self.client.username_pw_set(user, broker.password(user))
        self.client.on_connect = lambda _c, _u, _f, reason, _p: self.answers.put(("connect", None, reason))
        self.client.on_message = lambda _c, _u, message: self.messages.put(message)
        self.client.on_subscribe = lambda _c, _u, mid, reasons, _p: self.answers.put(("subscribe", mid, reasons[0]))
        self.client.on_publish = lambda _c, _u, mid, reason, _p: self.answers.put(("publish", mid, reason))
        self.client.connect("127.0.0.1", broker.port, keepalive=30)
        self.client.loop_start()
        reason = self.answered("connect", None)
        check(not reason.is_failure, user, "is not let in:", reason)

    def close(self):
        self.client.disconnect()
        self.client.loop_stop()

    def answered(self, what, mid):
        """The broker's reason code for a packet."""
        while True:
            kind, number, reason = self.answers.get(timeout=PATIENCE)
            if kind == what and number == mid:
                return reason

    def subscribe(self, topic):
        _, mid = self.client.subscribe(topic, qos=1)
        return self.answered("subscribe", mid)

    def publish(self, topic, payload, qos=1, retain=False, **properties):
        """Publishes, and gives the broker's reason code as a number."""
        given = None
        if properties:
            given = Properties(PacketTypes.PUBLISH)
            for name, value in properties.items():
                setattr(given, name, value)
        if not isinstance(payload, (str, bytes)):
            payload = json.dumps(payload)
        sent = self.client.publish(topic, payload, qos=qos, retain=retain, properties=given)
        return self.answered("publish", sent.mid).value

    def next(self, wait=PATIENCE):
        """The next message; none if none comes in time."""
        try:
            return self.messages.get(timeout=wait)
        except queue.Empty:
            return None

    def now(self):
        """All that has come."""
        came, self.aside = self.aside, []
        while not self.messages.empty():
            came.append(self.messages.get())
        return came


class Device(Client):
    """A client of the node: it asks on its own topics and hears the answers."""

    def __init__(self, broker, user, version=5):
        super().__init__(broker, user, version)
        self.asked = 0
        self.subscribe(f"{NODE}/response/{user}/#")

    def send(self, task, request, **more):
        return self.publish(f"{NODE}/request/{task}/{self.user}", request, **more)

    def ask(self, task, **request):
        """Asks, and gives all messages about the request; the last one ends it. Without an `id` one is made."""
        self.asked += 1
        request.setdefault("id", f"{self.user}-{self.asked}")
        reason = self.send(task, request)
        check(reason == 0, "the broker does not take the request:", reason)
        return self.about(request["id"])

    def about(self, id):
        """All messages about a request, as documents, until one ends it."""
        came = []
        while True:
            message = self.next()
            check(message is not None, "no answer to", id, "after", came)
            document = json.loads(message.payload)
            if "/response/" not in message.topic or document["id"] != id:
                self.aside.append(message)
                continue
            check(not message.retain and document["node"] == "gw", document)
            check(document["event"] in ("delta", "progress") or message.qos == 1, "not at QoS 1:", document)
            came.append(document)
            is_last = document["event"] == "part" and document["seq"] + 1 == document["of"]
            if is_last or document["event"] in ("result", "error"):
                return came

    def result(self, task, **request):
        """The result of a request that must have one."""
        last = self.ask(task, **request)[-1]
        check(last["event"] == "result" and last["task"] == task, task, request, last)
        return last

    def error(self, code, task, **request):
        """The error of a request that must have one."""
        last = self.ask(task, **request)[-1]
        check(last["event"] == "error" and last["code"] == code and last["message"], code, request, last)
        return last
