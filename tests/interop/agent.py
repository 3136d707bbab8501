"""Calls the Python client of BullMQ on behalf of a test; the requests and replies are those of agent.mjs.

    python agent.py redis://…
"""

import asyncio
import inspect
import json
import os
import sys
from importlib.metadata import version

from bullmq import FlowProducer, Job, Queue, Worker
from bullmq.queue_events import QueueEvents

EVENTS = (
    "added active cleaned completed debounced deduplicated delayed duplicated failed paused progress removed "
    "resumed retries-exhausted stalled waiting waiting-children"
).split()

URL = sys.argv[1]
made = {}


def one(kind, queue, make):
    """One of each kind and queue, made when it is first needed."""
    if (kind, queue) not in made:
        made[kind, queue] = make()
    return made[kind, queue]


def queue_of(name):
    return one("queue", name, lambda: Queue(name, {"connection": URL}))


def events_of(name):
    def make():
        # From the first entry on: what is heard does not depend on when the listener came to its first read.
        events = QueueEvents(name, {"connection": URL, "lastEventId": "0", "blockingTimeout": 500})
        seen = []
        for event in EVENTS:
            events.on(event, lambda fields, _id, event=event: seen.append({"event": event, **fields}))
        events.on("drained", lambda _id: seen.append({"event": "drained"}))
        events.on("error", lambda error: seen.append({"event": "error", "message": str(error)}))
        return events, seen

    return one("events", name, make)


def shown(value):
    """A value as JSON has it: a job as Node's client shows one."""
    if isinstance(value, Job):
        fields = (
            "id name data opts progress attemptsMade attemptsStarted timestamp delay priority processedOn finishedOn "
            "failedReason stacktrace returnvalue parentKey processedBy"
        )
        return {name: getattr(value, name, None) for name in fields.split()}
    if isinstance(value, dict):
        return {str(key): shown(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set)):
        return [shown(item) for item in value]
    if isinstance(value, bytes):
        return value.decode()
    return value


async def called(thing, request):
    answer = getattr(thing, request["method"])(*request.get("args", []))
    return await answer if inspect.isawaitable(answer) else answer


async def job_of(request):
    job = await Job.fromId(queue_of(request["queue"]), request["id"])
    if not job:
        raise LookupError(f"no job {request['id']} in {request['queue']}")
    return job


async def on_events(request):
    _, seen = events_of(request["queue"])
    return seen if request["method"] == "seen" else None


async def finished(request):
    """This client has no waitUntilFinished; its listener and its getters together say the same."""
    events, _ = events_of(request["queue"])
    ended = asyncio.get_running_loop().create_future()

    def end(fields, _id):
        if not ended.done():
            ended.set_result(None)

    for event in ("completed", "failed"):
        events.on(f"{event}:{request['id']}", end)
    job = await job_of(request)
    state = await job.getState()
    if state not in ("completed", "failed"):
        await asyncio.wait_for(ended, request["ms"] / 1000)
        state = await job.getState()
    # Only now: what was read before the end has no result in it.
    job = await job_of(request)
    if state == "failed":
        raise RuntimeError(job.failedReason)
    return job.returnvalue


async def worker(request):
    async def work(job, _token):
        return {"by": "python", "i": job.data["i"]}

    name = request["queue"]
    if request["method"] == "stop":
        await made.pop(("worker", name)).close()
        return None
    one("worker", name, lambda: Worker(name, work, {"connection": URL, **request["args"][0]}))
    return None


async def flow(request):
    producer = one("flow", "", lambda: FlowProducer({"connection": URL}))
    return await producer.add(request["tree"])


async def on_job(request):
    return await called(await job_of(request), request)


async def on_queue(request):
    return await called(queue_of(request["queue"]), request)


async def on_version(_request):
    return version("bullmq")


HANDLERS = {
    "version": on_version,
    "queue": on_queue,
    "job": on_job,
    "events": on_events,
    "finished": finished,
    "worker": worker,
    "flow": flow,
}


async def answer(request):
    try:
        reply = {"ok": shown(await HANDLERS[request["on"]](request))}
    except Exception as error:
        reply = {"error": str(error) or repr(error)}
    print(json.dumps({"ticket": request["ticket"], **reply}), flush=True)


async def main():
    loop = asyncio.get_running_loop()
    running = set()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        task = asyncio.create_task(answer(json.loads(line)))
        running.add(task)
        task.add_done_callback(running.discard)
    # Listeners and workers that still wait are no reason to stay.
    os._exit(0)


asyncio.run(main())
