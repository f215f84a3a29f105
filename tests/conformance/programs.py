"""What needs no library: mosquitto_pub, mosquitto_sub and mosquitto_rr, in MQTT 5 and in MQTT 3.1.1, at every quality of service."""
import json
import subprocess

from clients import NODE, PATIENCE, Device, check


def program(broker, name, *arguments):
    """Runs one as the device, and gives what it has printed."""
    login = ["-h", "127.0.0.1", "-p", str(broker.port), "-u", "dev", "-P", broker.password("dev")]
    done = subprocess.run([name, *login, *arguments], capture_output=True, text=True, timeout=PATIENCE)
    check(done.returncode == 0, name, arguments, done.stderr)
    return done.stdout


def answered(broker, version, qos, id):
    """The answer to a request that mosquitto_pub sends, as mosquitto_sub shows it."""
    topic = f"{NODE}/response/dev/{id}"
    login = ["-h", "127.0.0.1", "-p", str(broker.port), "-u", "dev", "-P", broker.password("dev"), "-V", version]
    # It says on standard error when it is subscribed.
    shown = subprocess.Popen(
        ["stdbuf", "-oL", "mosquitto_sub", *login, "-d", "-q", "1", "-C", "1", "-W", str(PATIENCE), "-t", topic],
        stdout=subprocess.PIPE, text=True,
    )
    for line in shown.stdout:
        if "Subscribed" in line:
            break
    # Whatever takes the properties away leaves what is in the payload.
    request = {"id": id, "prompt": "Hi", "max_tokens": 1, "ref": "r", "reply_to": topic}
    program(broker, "mosquitto_pub", "-V", version, "-q", qos, "-t", f"{NODE}/request/generate/dev", "-m", json.dumps(request))
    lines = [line for line in shown.stdout if line.startswith("{")]
    check(shown.wait(PATIENCE) == 0 and len(lines) == 1, version, qos, lines)
    return json.loads(lines[0])


def run(broker):
    for version in ("mqttv5", "mqttv311"):
        for qos in ("0", "1", "2"):
            result = answered(broker, version, qos, f"{version}-{qos}")
            check(result["event"] == "result" and result["ref"] == "r", version, qos, result)
        print(f"ok  mosquitto_pub and mosquitto_sub, {version}, QoS 0, 1, 2", flush=True)
    own = f"{NODE}/response/dev/rr"
    said = program(broker, "mosquitto_rr", "-V", "mqttv5", "-t", f"{NODE}/request/generate/dev", "-e", own, "-W", str(PATIENCE),
                   "-D", "publish", "correlation-data", "7", "-F", "%D %p", "-m", '{"prompt":"Hi","max_tokens":1}')
    check('"event":"result"' in said and "7" in said.split("{")[0], said)
    print("ok  mosquitto_rr, with Response Topic and Correlation Data", flush=True)

    old = Device(broker, "dev", version=4)
    for qos in (0, 1, 2):
        id = f"old{qos}"
        old.send("generate", {"id": id, "prompt": "Hi", "max_tokens": 2, "stream": True, "ack": True}, qos=qos)
        events = [document["event"] for document in old.about(id)]
        # "accepted" waits for the disk, and a delta does not.
        check("accepted" in events and events[-1] == "result" and "delta" in events, qos, events)
    old.close()
    print("ok  paho-mqtt with MQTT 3.1.1, QoS 0, 1, 2", flush=True)
