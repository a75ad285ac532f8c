"""The sections that say when to act: `probe`, `failover`, `fencing`, `hooks`."""

from datetime import timedelta
from enum import StrEnum
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, StrictBool, StrictInt

from pgvigil.config.section import Section
from pgvigil.config.units import Duration, DurationOrZero, Kind, MaybeRate, Size, Text
from pgvigil.model.spec import (
    AfterCrash,
    Callback,
    CallbackAction,
    FailoverPolicy,
    Fencing,
    Hooks,
    LogicalSlots,
    Rate,
    Timings,
    WhenUnreachable,
)


class ProbeSection(Section):
    """How often nodes are looked at, and how long one look may take."""

    interval: Duration = Field(
        default=timedelta(milliseconds=500),
        description="Time between two looks at a node that is well. A session that ends is noticed at once, "
        "whatever this is.",
    )
    suspect_after: Duration = Field(
        default=timedelta(milliseconds=250),
        description="A look without an answer for this long sets all vantage points to work. No verdict yet.",
    )
    timeout: Duration = Field(
        default=timedelta(seconds=5),
        description="A query without an answer for this long is given up, and its session closed.",
    )
    connect_timeout: Duration = Field(
        default=timedelta(seconds=2), description="An attempt to connect and log in is given up after this."
    )
    shell_timeout: Duration = Field(
        default=timedelta(seconds=1), description="A short question to a host's shell is given up after this."
    )


class RescueSection(Section):
    """Carrying WAL that never left a crashed primary to the candidate."""

    max: Size = Field(
        default=256 * 2**20,
        description="More WAL than this is not carried: it would delay the promotion. `0B`: never carry.",
    )
    timeout: Duration = Field(
        default=timedelta(seconds=10),
        description="Promotion waits no longer than this for it; what is lost is then reported.",
    )


class FailoverSection(Section):
    """When a standby is promoted without anybody asking, and which."""

    automatic: StrictBool = Field(
        default=True, description="Fail over by itself. `false`: only tell, and wait for `pgvigil failover`."
    )
    unreachable_after: Duration = Field(
        default=timedelta(seconds=3),
        description="Silence of the primary's whole host, for everybody who could see it, before it counts "
        "as lost.",
    )
    hung_after: Duration = Field(
        default=timedelta(seconds=5),
        description="A primary that is there but does not answer counts as hung after this.",
    )
    restart_grace: DurationOrZero = Field(
        default=timedelta(seconds=5),
        description="A primary that is being stopped, restarted or is recovering may take this long to come "
        "back.",
    )
    max_lag: Size = Field(
        default=16 * 2**20,
        description="A standby that lacks more WAL than this, as far as is known, is not promoted by itself.",
    )
    after_crash: AfterCrash = Field(
        default=AfterCrash.FAILOVER,
        description="When the primary's postmaster died on a live host: promote a standby, or start it again "
        "where it is.",
    )
    max_per: MaybeRate = Field(
        default=Rate(3, timedelta(minutes=15)),
        description="More automatic failovers than this wait for a human. As many restarts in place, counted "
        "apart, and a standby takes over. `none`: no limit.",
    )
    rescue: RescueSection = Field(default=RescueSection(), description="See below.")
    auto_rejoin: StrictBool = Field(
        default=True,
        description="Make an old primary that came back a standby again: start it, else rewind, else clone.",
    )
    restart_standbys: StrictBool = Field(
        default=False, description="Start a standby again that is found stopped; else it is only reported."
    )
    logical_slots: LogicalSlots = Field(
        default=LogicalSlots.PREFER,
        description="From PostgreSQL 17 on, what a standby counts that lacks copies of the primary's logical "
        "slots with `failover` (sync_replication_slots): `prefer`: of two equal standbys the one that has "
        "them; `require`: it is not promoted without --force; `ignore`: as much as any other.",
    )
    across_locations: StrictBool = Field(
        default=False,
        description="Promote also a standby whose `location` is not the primary's. `false`: only when an "
        "operator names it. Nodes without a location are at home everywhere.",
    )

    def spec(self) -> FailoverPolicy:
        """The same, as the core knows it."""
        return FailoverPolicy(
            automatic=self.automatic,
            after_crash=self.after_crash,
            max_lag_bytes=self.max_lag,
            max_per=self.max_per,
            rescue_max_bytes=self.rescue.max,
            rescue_timeout=self.rescue.timeout,
            auto_rejoin=self.auto_rejoin,
            restart_standbys=self.restart_standbys,
            across_locations=self.across_locations,
            logical_slots=self.logical_slots,
        )

    def timings(self, probe: ProbeSection) -> Timings:
        """All periods and deadlines, as the core knows them."""
        return Timings(
            probe_interval=probe.interval,
            suspect_after=probe.suspect_after,
            probe_timeout=probe.timeout,
            connect_timeout=probe.connect_timeout,
            shell_timeout=probe.shell_timeout,
            unreachable_after=self.unreachable_after,
            hung_after=self.hung_after,
            restart_grace=self.restart_grace,
        )


class FencingSection(Section):
    """How an old primary is kept from acknowledging before another one is promoted."""

    unreachable: WhenUnreachable = Field(
        default=WhenUnreachable.PROMOTE,
        description="When it can be fenced in no way: promote all the same, although an isolated old primary "
        "could still take writes, or wait for a human.",
    )
    command: Text | None = Field(
        default=None,
        description="Shell line, run on the controller, that turns the old primary's host off (IPMI, "
        "hypervisor, cloud). Exit code 0 says that it is off. NODE and HOST are in its environment.",
    )
    command_timeout: Duration = Field(
        default=timedelta(seconds=30), description="It counts as failed when it takes longer."
    )
    guard: StrictBool = Field(
        default=False,
        description="Every node has a guard (`pgvigil guard install`), which stops its server when that is a "
        "primary without a lease from the controller and without a majority of the nodes in sight.",
    )
    guard_lease: Duration = Field(
        default=timedelta(seconds=10),
        description="How long a guard lets its primary go on alone. A failover that rests on the guard takes "
        "this and about 4 s.",
    )
    guard_watchdog: Text | None = Field(
        default=None,
        description="Watchdog device that the guards feed, such as `/dev/watchdog`: a machine whose guard is "
        "gone, or cannot stop the server, is reset by it.",
    )

    def spec(self) -> Fencing:
        """The same, as the core knows it."""
        return Fencing(
            self.unreachable,
            self.command or "",
            self.command_timeout,
            self.guard,
            self.guard_lease,
            self.guard_watchdog or "",
        )


def _one_or_more(value: Any) -> Any:  # what YAML had there
    return [value] if isinstance(value, str) else value


Lines = Annotated[
    tuple[Text, ...],
    BeforeValidator(_one_or_more, json_schema_input_type=str | tuple[str, ...]),
    Kind("text or list of texts"),
]


class RunOn(StrEnum):
    """Whose host runs a script."""

    NODE = "node"
    CONTROLLER = "controller"


class CallbackSection(Section):
    """A script called as Patroni calls its callbacks, with action, role, cluster. In short: only its command.

    On standard input it gets JSON. Its failure is told, and holds nothing.
    """

    command: Text = Field(description="Shell line; the three arguments are put behind it.")
    run_on: RunOn = Field(
        default=RunOn.NODE, description="On the host of the node that it is about, by its shell, or here."
    )
    actions: frozenset[CallbackAction] = Field(
        default=frozenset(CallbackAction), min_length=1, description="For what it is called."
    )
    timeout: Duration = Field(default=timedelta(seconds=10), description="It is ended after this.")
    attempts: Annotated[StrictInt, Field(ge=1, le=100), Kind("number")] = Field(
        default=1, description="How often it is tried, later each time, before `callback_failed` is told."
    )

    def spec(self) -> Callback:
        """The same, as the core knows it."""
        on_node = self.run_on is RunOn.NODE
        return Callback(self.command, on_node, self.actions, self.timeout, self.attempts)


def _callback(value: Any) -> Any:  # what YAML had there
    """The short form of a callback: only its command."""
    return {"command": value} if isinstance(value, str) else value


def _one_or_several(value: Any) -> Any:  # what YAML had there
    return [value] if isinstance(value, str | dict) else value


CallbackValue = Annotated[
    CallbackSection, BeforeValidator(_callback, json_schema_input_type=str | CallbackSection)
]

CallbackValues = Annotated[
    tuple[CallbackValue, ...],
    BeforeValidator(_one_or_several, json_schema_input_type=CallbackValue | tuple[CallbackValue, ...]),
    Kind("command, mapping (see below), or list of them"),
]


class HooksSection(Section):
    """Programs of yours, told of what happens. A slow one delays nothing."""

    on_event: Lines = Field(
        default=(), description="Shell lines; each gets the event as JSON on its standard input."
    )
    before_failover: Lines = Field(
        default=(),
        description="Shell lines asked before an automatic failover begins, with its event as JSON on "
        "standard input. One that exits other than 0, or takes too long, holds it: your own rules.",
    )
    timeout: Duration = Field(default=timedelta(seconds=10), description="A program is ended after this.")
    callbacks: CallbackValues = Field(
        default=(),
        description="Scripts called for a node with `on_start`, `on_stop`, `on_restart`, `on_reload`, "
        "`on_role_change`, its role and the cluster, as Patroni's callbacks are.",
    )

    def spec(self) -> Hooks:
        """The same, as the core knows it."""
        callbacks = tuple(each.spec() for each in self.callbacks)
        return Hooks(self.on_event, self.before_failover, self.timeout, callbacks)
