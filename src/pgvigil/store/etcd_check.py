"""`check` of etcd: does it answer, can it lose a server, has it room. Only looked at, nothing is written.

Sources: etcd's Maintenance and Cluster services (`rpc.proto`), its manual's "Runtime reconfiguration" for how
many servers may be lost and "System limits" for the quota of 2 GB.
"""

import asyncio
from typing import Final

from pgvigil.errors import StoreError
from pgvigil.model.check import CheckItem, CheckLevel
from pgvigil.model.etcd import EtcdSpec
from pgvigil.store.gateway import Gateway, Json, number
from pgvigil.store.transactions import Transactions

OLDEST: Final = (3, 4)
FULL_BYTES: Final = 1_500_000_000
"""Three quarters of the quota that etcd has unless it is told otherwise."""
SLOW: Final = 1 / 10
"""Of `retry`: an answer that takes longer leaves little for a second server."""
PAGE: Final = "see docs/operate/several-controllers.md"


async def check_etcd(spec: EtcdSpec) -> list[CheckItem]:
    """What was found of each server that is named, then of all of them together. Raises nothing."""
    gateway = Gateway(spec)
    try:
        looks = await asyncio.gather(*(_look(gateway, url) for url in spec.endpoints))
        items = [item for _, found in looks for item in found]
        if not any(status for status, _ in looks):
            return [*items, CheckItem(CheckLevel.ERROR, "etcd", "no server of etcd answers", PAGE)]
        return [*items, *await _together(gateway)]
    finally:
        await gateway.close()


async def _look(gateway: Gateway, url: str) -> tuple[Json | None, list[CheckItem]]:
    """One server's own status, and what is to be said of it."""
    clock = asyncio.get_running_loop().time
    began = clock()
    try:
        status = await gateway.ask_one(url, "/v3/maintenance/status", {})
    except StoreError as wrong:
        return None, [CheckItem(CheckLevel.WARNING, url, _said(wrong), wrong.hint)]
    took_s = clock() - began
    version, size = str(status.get("version", "")), number(status, "dbSize")
    items = []
    if (numbers := tuple(int(n) for n in version.split(".")[:2] if n.isdigit())) and numbers < OLDEST:
        items.append(
            CheckItem(CheckLevel.ERROR, url, f"etcd {version} is too old", "install etcd 3.4 or later")
        )
    if not number(status, "leader"):
        items.append(
            CheckItem(CheckLevel.ERROR, url, "knows of no leader: it can neither read nor write", PAGE)
        )
    items += [CheckItem(CheckLevel.ERROR, url, f"reports: {each}", PAGE) for each in status.get("errors", ())]
    if size > FULL_BYTES:
        items.append(
            CheckItem(
                CheckLevel.WARNING,
                url,
                f"holds {size / 1e9:.1f} GB; by default it stops writing at 2 GB",
                "set its --auto-compaction-retention, and run: etcdctl defrag",
            )
        )
    if took_s > gateway.spec.retry_s * SLOW:
        items.append(
            CheckItem(
                CheckLevel.WARNING,
                url,
                f"took {took_s * 1e3:.0f} ms to answer",
                "a slow etcd makes failovers slow",
            )
        )
    told = f"etcd {version}, answers in {took_s * 1e3:.0f} ms, {size / 1e6:.0f} MB"
    return status, items or [CheckItem(CheckLevel.OK, url, told)]


async def _together(gateway: Gateway) -> list[CheckItem]:
    """How many servers there are, and whether our keys can be read."""
    spec = gateway.spec
    try:
        members = (await gateway.ask("/v3/cluster/member/list", {})).get("members", ())
        peers = await Transactions(gateway, spec.name).below("controller/")
    except StoreError as wrong:
        return [CheckItem(CheckLevel.ERROR, "etcd", _said(wrong), wrong.hint)]
    voting = [each for each in members if not each.get("isLearner")]
    items = [_of_members(len(voting))]
    if len(spec.endpoints) < len(voting):
        what = f"{len(spec.endpoints)} of {len(voting)} servers are named, the others never asked"
        items.append(CheckItem(CheckLevel.ADVICE, "etcd", what, "name all of them under store.endpoints"))
    names = ", ".join(sorted(key.name.partition("/")[2] for key in peers)) or "none"
    return [
        *items,
        CheckItem(CheckLevel.OK, "etcd", f"our keys can be read; controllers that are there: {names}"),
    ]


def _of_members(count: int) -> CheckItem:
    if count < 3:
        what = f"{count} server{'s' * (count > 1)}: none may be lost, or nothing is begun until it is back"
        return CheckItem(CheckLevel.WARNING, "etcd", what, "set up three or five servers of etcd")
    lost = (count - 1) // 2
    if count % 2 == 0:
        what = f"{count} servers, of which {lost} may be lost: as many as with {count - 1}"
        return CheckItem(CheckLevel.ADVICE, "etcd", what, "an odd number of servers is better")
    return CheckItem(CheckLevel.OK, "etcd", f"{count} servers, of which {lost} may be lost")


def _said(wrong: StoreError) -> str:
    return f"{wrong}: {wrong.detail}" if wrong.detail else str(wrong)
