"""What was recorded: a list of it, and the recording around one event."""

from base64 import b64encode

from pgvigil.controller.errands.ground import Ground
from pgvigil.controller.operations import Json, Result
from pgvigil.controller.orders import Order
from pgvigil.controller.status import event_json
from pgvigil.errors import UsageError
from pgvigil.model.command import FetchRecording
from pgvigil.model.recording import Kept


async def list_recordings(ground: Ground, order: Order) -> None:
    """All that are kept of this cluster; of the event under way, if there is one, nothing yet."""
    kept = await ground.store.recordings(ground.bench.spec.name)
    text = f"{len(kept)} recordings" if kept else "nothing has happened that was recorded"
    order.finish(Result.DONE, text, data={"recordings": [_kept(each) for each in kept]})


async def fetch_recording(ground: Ground, order: Order, errand: FetchRecording) -> None:
    """An event with the recording of its moment, if one is kept. Raises UsageError, StoreError."""
    await ground.journal.flush()
    await ground.loop.recorder.flush()
    cluster = ground.bench.spec.name
    event = await ground.store.event(errand.event)
    if event is None or event.cluster != cluster:
        raise UsageError(
            f"{cluster} has no event {errand.event}",
            hint="the numbers stand before the events: pgvigil events",
        )
    body = await ground.store.recording(cluster, event.at)
    data = {"event": event_json(event), "recording": b64encode(body).decode() if body else None}
    order.finish(Result.DONE, event.text, data=data)


def _kept(each: Kept) -> Json:
    return {
        "number": each.number,
        "began": each.began.isoformat(),
        "ended": each.ended.isoformat(),
        "ticks": each.ticks,
        "bytes": each.size,
        "changed_primary": each.changed_primary,
    }
