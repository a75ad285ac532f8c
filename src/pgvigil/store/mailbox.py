"""Letters between controllers, in etcd: each is taken once, by who holds the cluster's lock, or by nobody.

`letter/TO/NUMBER` hangs on the sender's lease and is replaced in one transaction by `answer/SENDER/NUMBER`,
which hangs on the taker's. So of a letter that nobody took nothing was done, whoever dies; and of one that
was taken the sender learns when its taker is gone. Long answers lie in parts beside theirs.
"""

import asyncio
import json
from typing import Final
from uuid import uuid4

from pgvigil.errors import StoreError
from pgvigil.model.letter import Answer, Letter, Way
from pgvigil.model.units import ClusterName
from pgvigil.store.etcd import owner_key
from pgvigil.store.roster import EtcdRoster
from pgvigil.store.transactions import Key

PART: Final = 400_000
"""Characters of one part of an answer."""
KEPT_S: Final = 30.0
"""So long an answer waits for its reader."""


class EtcdMailbox:
    """`ports.contract.Mailbox` in etcd, of the controller whose roster that is."""

    def __init__(self, roster: EtcdRoster) -> None:
        self._keys, self._roster = roster.keys, roster
        self._taken: dict[str, int] = {}
        """Letters that we took: etcd's revision of that."""

    async def post(self, cluster: ClusterName, text: str) -> Letter | None:
        """Hand it to who guards the cluster now; None: nobody does, or it is us.

        Raises StoreError, and then it was not handed in.
        """
        keys, me = self._keys, self._roster.name
        lock = await keys.get(owner_key(cluster))
        if lock is None or lock.value == me:
            return None
        letter = Letter(uuid4().hex, me, lock.value, cluster, lock.created, text)
        fields = {"sender": me, "cluster": cluster, "lock": lock.created, "text": text}
        conditions = [keys.created(owner_key(cluster), lock.created), keys.modified(_letter(letter), 0)]
        put = keys.put(_letter(letter), json.dumps(fields), lease=self._lease())
        try:
            posted = await keys.change(conditions, [put])
        except StoreError:
            return letter  # it may be there: whoever follows it finds out
        return letter if posted else None

    async def withdraw(self, letter: Letter) -> bool:
        """Take our letter back; whether nobody had taken it: then nobody will. Raises StoreError."""
        keys, key = self._keys, _letter(letter)
        return bool(await keys.change([keys.written(key, 1)], [keys.delete(key)]))

    async def answer(self, letter: Letter) -> Answer:
        """How far our letter has come. Raises StoreError."""
        names = [_letter(letter), _answer(letter), owner_key(letter.cluster)]
        there = {key.name: key for key in await self._keys.of_names(names)}
        if found := there.get(_answer(letter)):
            fields = json.loads(found.value)
            if not fields["last"]:
                return Answer(Way.TAKEN, fields["text"])
            parts = await self._keys.below(f"answer-part/{letter.number}/") if fields["parts"] else []
            if len(parts) != fields["parts"]:
                return Answer(Way.GONE)
            return Answer(Way.ANSWERED, fields["text"] + "".join(part.value for part in parts))
        if _letter(letter) not in there:
            return Answer(Way.GONE)
        lock = there.get(owner_key(letter.cluster))
        return Answer(Way.WAITS if lock and lock.created == letter.lock else Way.STRAYS)

    async def discard(self, letter: Letter) -> None:
        """Remove the letter and its answer. Raises StoreError."""
        keys, parts = self._keys, f"answer-part/{letter.number}/"
        gone = [keys.delete(_letter(letter)), keys.delete(_answer(letter)), keys.delete_below(parts)]
        await keys.change([], gone)

    async def waiting(self) -> list[Letter]:
        """The letters for us that nobody has taken. Raises StoreError."""
        return [_read(key) for key in await self._keys.below(f"letter/{self._roster.name}/")]

    async def take(self, letter: Letter) -> bool:
        """Make a letter ours to carry out; False: its sender withdrew it, or the cluster is not ours.

        Raises StoreError, and then nobody carries it out: `reject` it.
        """
        keys = self._keys
        if self._roster.lock(letter.cluster) != letter.lock:
            return False
        conditions = [
            keys.written(_letter(letter), 1),
            keys.created(owner_key(letter.cluster), letter.lock),
        ]
        put = keys.put(_answer(letter), _told("", last=False), lease=self._lease())
        revision = await keys.change(conditions, [keys.delete(_letter(letter)), put])
        if revision:
            self._taken[letter.number] = revision
        return bool(revision)

    async def reject(self, letter: Letter, text: str) -> None:
        """Answer a letter whose taking was in doubt, if it was us who took it. Raises StoreError."""
        found = await self._keys.get(_answer(letter))
        if found is not None:
            self._taken[letter.number] = found.created
            await self.tell(letter, text, last=True)

    async def tell(self, letter: Letter, text: str, *, last: bool) -> None:
        """Answer a letter that we took; the sender sees what was told last. Raises StoreError."""
        keys, key, taken = self._keys, _answer(letter), self._taken[letter.number]
        rest = [text[begin : begin + PART] for begin in range(0, len(text), PART)][1:]
        for place, part in enumerate(rest):
            put = keys.put(f"answer-part/{letter.number}/{place:04}", part, lease=self._lease())
            await keys.change([keys.created(key, taken)], [put])
        told = keys.put(key, _told(text[:PART], last=last, parts=len(rest)), lease=self._lease())
        await keys.change([keys.created(key, taken)], [told])
        if last:
            del self._taken[letter.number]

    def _lease(self) -> int:
        if not self._roster.lease:
            raise StoreError("this controller has no lease in etcd", hint="it takes another by itself")
        return self._roster.lease

    async def expire(self, letter: Letter) -> None:
        """Wait until an answer has been there for long enough, and remove it. Raises StoreError."""
        await asyncio.sleep(KEPT_S)
        await self.discard(letter)


def _letter(letter: Letter) -> str:
    return f"letter/{letter.to}/{letter.number}"


def _answer(letter: Letter) -> str:
    return f"answer/{letter.sender}/{letter.number}"


def _told(text: str, *, last: bool, parts: int = 0) -> str:
    return json.dumps({"last": last, "parts": parts, "text": text})


def _read(key: Key) -> Letter:
    _, to, number = key.name.split("/")
    try:
        fields = json.loads(key.value)
        return Letter(
            number, fields["sender"], to, ClusterName(fields["cluster"]), fields["lock"], fields["text"]
        )
    except (ValueError, KeyError) as wrong:
        raise StoreError(f"{key.name} in etcd is no letter", detail=str(wrong)) from wrong
