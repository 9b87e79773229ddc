"""An independent walk over the log of a simulated year: what must hold, derived anew from the requirements.

Reads plain records and imports nothing of the product, so that an error in a rule of the product cannot hide
in a rule of the walk. Rules are named by their R-number, and `one open`, `allowance`, `key limit`, `audit`,
`certificate`, `in time` for those that have none.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from tests.simulation import expectations, walk_certificates
from tests.simulation.expectations import Next
from tests.simulation.records import (
    Asked,
    Audited,
    Began,
    Claimed,
    Deleted,
    Done,
    Final,
    Held,
    Line,
    Lost,
    Message,
    Record,
    Saved,
    Seen,
    Server,
)
from tests.simulation.walk_certificates import Parameters
from tests.simulation.walk_servers import Allowances
from tests.simulation.walk_state import Breach, DeviceState, RequestState

LINES = 20
"""R18."""
LATEST = timedelta(hours=2)
"""So late may a request or a poll be taken up, when nobody was killed: it waits for the server's allowance."""
OPEN = ("to_be_processed", "processing")
_RANK = {"to_be_processed": 0, "processing": 1, "error": 2, "successful": 2}


def walk(log: Iterable[Record]) -> list[Breach]:
    """Every breach, in the order of the log."""
    walker = _Walk()
    for record in log:
        walker.take(record)
    walker.end()
    return walker.breaches


class _Walk:
    def __init__(self) -> None:
        self.breaches: list[Breach] = []
        self._devices: dict[str, DeviceState] = {}
        self._allowances = Allowances()
        self._at = datetime.min.replace(tzinfo=UTC)

    # --- the records, one by one --------------------------------------------------------------------------

    def take(self, record: Record) -> None:
        self._at = record.at
        match record:
            case Server():
                self._allowances.server(record)
            case Claimed():
                for text in self._allowances.claimed(record):
                    self._breach("allowance", record.server, 0, text)
            case Lost():
                self._allowances.released(record.device, record.sequence)
                if request := self._device(record.device).request:
                    request.interrupted = True
            case Saved():
                self._saved(record)
            case Asked():
                self._device(record.device).asked = record
            case Deleted():
                self._device(record.device).deleted_at = record.at
                self._allowances.forgotten(record.device)
            case Began():
                self._began(record)
            case Message():
                self._message(record)
            case Done():
                self._done(record)
            case Line():
                self._line(record)
            case Held():
                self._held(record)
            case Seen():
                self._seen(record)
            case Audited():
                self._audited(record)
            case Final():
                self._final(record)

    def _breach(self, rule: str, device: str, sequence: int, text: str) -> None:
        self.breaches.append(Breach(rule, device, sequence, self._at, text))

    def _device(self, name: str) -> DeviceState:
        return self._devices.setdefault(name, DeviceState())

    def _saved(self, saved: Saved) -> None:
        device, after = self._device(saved.device), saved.settings
        before = device.settings
        started = after.timer and (
            before is None or not before.timer or (before.start, before.zone) != (after.start, after.zone)
        )
        drawn = started or (after.timer and before is not None and before.auto_adjust != after.auto_adjust)
        if not after.timer:
            if saved.offset is not None:
                self._breach("R10", saved.device, 0, "an offset without a timer")
        elif saved.offset is None:
            self._breach("R10", saved.device, 0, "a timer without its offset")
        elif drawn:
            low, high = (1, 600) if after.auto_adjust else (0, 0)
            if not low <= saved.offset <= high:
                self._breach("R10", saved.device, 0, f"the offset {saved.offset} is not {low} to {high} s")
        elif saved.offset != device.offset:
            self._breach("R10", saved.device, 0, f"drawn again: {device.offset}, then {saved.offset} s")
        device.settings, device.offset, device.saved_at = after, saved.offset, saved.at
        waits = device.lines.get(device.newest)
        under_way = waits is not None and waits.status == "processing"
        if waits is not None and waits.status == "to_be_processed":
            # nobody may act on it for the old settings
            self._allowances.released(saved.device, waits.sequence)
        if not after.timer:
            device.next = None
        elif started or (drawn and device.next is not None and device.next.trigger == "timer"):
            device.next = expectations.first(after, saved.offset or 0)
        elif (
            before is not None
            and expectations.period_differs(before, after)
            and not under_way
            and (device.next is None or device.next.trigger == "periodic")
        ):
            device.next = self._following(device)

    def _following(self, device: DeviceState) -> Next | None:
        if device.settings is None or device.last_ended is None:
            return None
        key = walk_certificates.in_use(device.held, device.settings)
        return expectations.following(
            device.last_ended, device.settings, (key.not_before, key.not_after) if key else None
        )

    def _began(self, began: Began) -> None:
        device, name, sequence = self._device(began.device), began.device, began.sequence
        line = device.lines.get(sequence)
        if device.deleted_at is not None or line is None or line.status not in OPEN:
            self._breach("R11", name, sequence, "taken up, though it has ended or is gone")
            return
        if line.status == "to_be_processed":
            device.request = self._prepared(device, line)
        request = device.request
        if request is None:
            self._breach("R11", name, sequence, "under way, and nobody has begun it")
            return
        if began.at < request.due_at:
            rule = "R9" if line.status == "to_be_processed" else "R11"
            self._breach(rule, name, sequence, f"taken up before {request.due_at:%Y-%m-%d %H:%M:%S.%f}")
        # a shorter interval may be over already when it is entered: then the request goes out at once
        since = max(request.due_at, device.saved_at or request.due_at)
        if began.at - since > LATEST and not request.interrupted:
            self._breach("in time", name, sequence, f"due since {request.due_at:%Y-%m-%d %H:%M:%S}")
        request.messages, request.done = [], None

    def _prepared(self, device: DeviceState, line: Line) -> RequestState:
        """What holds for a request from when it is taken up, whatever an administrator changes later."""
        interrupted = device.request is not None and device.request.interrupted
        settings, polls, interval = device.settings, 0, 0
        if line.trigger == "manual":
            if device.asked is None:
                self._breach("R7", line.device, line.sequence, "a manual request that nobody has sent")
                device.asked = Asked(line.at, line.device, "", "none")
            asked = device.asked
            parameters = Parameters(asked.key_name, asked.key_use, asked.ipsec_destination, False)
        elif settings is None:
            raise ValueError(f"{line.device} has an automatic request, and the log no settings before it")
        else:
            polls, interval = settings.polling_count, settings.polling_interval
            parameters = Parameters(
                settings.key_name, settings.key_use, settings.ipsec_destination, settings.delete_old_key
            )
        return RequestState(
            sequence=line.sequence,
            parameters=parameters,
            polls_left=polls,
            interval=timedelta(seconds=interval),
            room=walk_certificates.has_room(device.held, parameters),
            due_at=line.request_at,
            interrupted=interrupted,
        )

    def _message(self, message: Message) -> None:
        device = self._device(message.device)
        line, request = device.lines.get(message.sequence), device.request
        if message.is_scep and device.deleted_at is not None and message.sent_at > device.deleted_at:
            self._breach("R11", message.device, message.sequence, "sent for a device that is gone")
        if request is None or request.sequence != message.sequence:
            self._breach("R11", message.device, message.sequence, "sent for a request that is not under way")
            return
        if not request.room:
            self._breach(
                "R11", message.device, message.sequence, "the key limit is reached; a server was asked"
            )
        if device.deleted_at is None and message.is_scep and (line is None or line.status != "processing"):
            status = line.status if line else "gone"
            self._breach("R16", message.device, message.sequence, f"sent while the line is {status}")
        if not request.messages:
            for text in self._allowances.sent(message):
                self._breach("allowance", message.device, message.sequence, text)
        request.messages.append(message)

    def _done(self, done: Done) -> None:
        device = self._device(done.device)
        self._allowances.released(done.device, done.sequence)
        if device.request is not None and device.request.sequence == done.sequence:
            device.request.done = done
            device.request.interrupted = done.killed

    # --- the status log -----------------------------------------------------------------------------------

    def _line(self, line: Line) -> None:
        device = self._device(line.device)
        before = device.lines.get(line.sequence)
        device.lines[line.sequence] = line
        if before is None and line.sequence != device.newest + 1:
            self._breach("R18", line.device, line.sequence, f"the newest line was {device.newest}")
        device.newest = max(device.newest, line.sequence)
        for rule, text in expectations.wrong_in(line):
            self._breach(rule, line.device, line.sequence, text)
        if before is None:
            if line.status != "to_be_processed":
                self._breach("R16", line.device, line.sequence, f"it begins as {line.status}")
            return
        if _RANK[before.status] > _RANK[line.status] or before.status in ("error", "successful"):
            self._breach("R16", line.device, line.sequence, f"{line.status} after {before.status}")
        if line.status == "successful" and before.status != "processing":
            self._breach("R16", line.device, line.sequence, "successful, and never [Processing...]")
        if before.status == "processing" and line.request_at != before.request_at:
            self._breach("R16", line.device, line.sequence, "another [Request Date/Time] while under way")
        if line.status not in OPEN:
            device.audited.append(line)

    def _seen(self, seen: Seen) -> None:
        device, name = self._device(seen.device), seen.device
        self._judge_log(device, seen)
        request = device.request
        if request is not None and request.done is not None:
            self._judge_step(device, request, request.done)
            request.done = None
            line = device.lines[request.sequence]
            if line.status not in OPEN:
                device.request = None
        # a line that was not kept may come again under its number
        device.lines = {number: device.lines[number] for number in seen.lines if number in device.lines}
        device.newest = max(device.lines, default=0)
        self._judge_next(device, seen, name)

    def _judge_log(self, device: DeviceState, seen: Seen) -> None:
        numbers = seen.lines
        if len(numbers) > LINES:
            self._breach("R18", seen.device, numbers[-1], f"{len(numbers)} lines are kept, not {LINES}")
        if numbers and numbers != tuple(range(numbers[0], numbers[-1] + 1)):
            self._breach("R18", seen.device, numbers[-1], f"there are holes: {numbers}")
        if numbers and numbers[0] > max(1, numbers[-1] - LINES + 1):
            self._breach("R18", seen.device, numbers[-1], f"only {len(numbers)} lines are kept")
        unknown = [number for number in numbers if number not in device.lines]
        if unknown:
            self._breach("R18", seen.device, unknown[0], "a line that nobody has written")
        opened = [n for n in numbers if n in device.lines and device.lines[n].status in OPEN]
        if len(opened) > 1:
            self._breach("one open", seen.device, opened[-1], f"the lines {opened} are open")

    def _judge_next(self, device: DeviceState, seen: Seen, name: str) -> None:
        """R9, R10 and R12: what waits is what has to wait, and it is shown."""
        newest = device.lines.get(device.newest)
        waits = newest if newest is not None and newest.status == "to_be_processed" else None
        shown = waits.request_at if waits else None
        if seen.next_request_at != shown:
            self._breach("R12", name, device.newest, f"[Next Request Date/Time] shows {seen.next_request_at}")
        if newest is not None and newest.status == "processing":
            if newest.trigger != "manual":
                device.next = None
            return
        if waits is not None and waits.trigger == "manual":
            if device.asked is None or waits.request_at != device.asked.at:
                self._breach("R7", name, waits.sequence, "a manual request that nobody has sent just then")
            return
        for rule, text in expectations.differs(device.next, waits):
            self._breach(rule, name, device.newest, text)

    # --- steps and their outcome --------------------------------------------------------------------------

    def _judge_step(self, device: DeviceState, request: RequestState, done: Done) -> None:
        name, sequence = done.device, request.sequence
        line = device.lines.get(sequence)
        if line is None:
            self._breach("R18", name, sequence, "gone in the middle of a step")
            return
        if done.killed:
            if line.status not in OPEN:
                self._breach("R11", name, sequence, "ended by a worker that was killed")
            return
        wanted = expectations.outcome(
            [message.answer for message in request.messages], request.polls_left, request.room
        )
        if (line.status, line.details) != (wanted.status, wanted.details):
            answers = ", ".join(f"{message.kind} {message.answer}" for message in request.messages)
            self._breach(
                wanted.rule,
                name,
                sequence,
                f"{line.status} {line.details!r} after {answers or 'nothing'} with {request.polls_left} polls "
                f"left; expected: {wanted.status} {wanted.details!r}",
            )
        if wanted.status == "processing" and line.status == "processing":
            request.polls_left -= 1
            request.due_at = done.at + request.interval
            if line.due_at != request.due_at:
                self._breach(
                    "R11", name, sequence, f"the next poll is set for {line.due_at}, not {request.due_at}"
                )
        if line.status not in OPEN:
            self._judge_end(device, request, line, done)

    def _judge_end(self, device: DeviceState, request: RequestState, line: Line, done: Done) -> None:
        answered = request.messages[-1].at if request.messages else done.at
        if line.completed_at is None or not answered <= line.completed_at <= done.at:
            self._breach(
                "R16", line.device, line.sequence, f"ended at {line.completed_at}, answered at {answered}"
            )
        if line.status == "successful" and not request.registered:
            self._breach("R6", line.device, line.sequence, "successful, and no new key")
        if line.trigger != "manual":
            device.last_ended = line
            if device.settings is not None and device.settings.timer:
                device.next = self._following(device)

    def _held(self, held: Held) -> None:
        device = self._device(held.device)
        request = device.request
        sequence = request.sequence if request else 0
        line = device.lines.get(sequence)
        successful = line is not None and line.status == "successful" and request is not None
        parameters = request.parameters if request is not None and successful else None
        for rule, text in walk_certificates.wrong_in_change(device.held, held, parameters):
            self._breach(rule, held.device, sequence, text)
        device.held = held
        if request is not None and successful:
            request.registered = True

    # --- the end ------------------------------------------------------------------------------------------

    def _audited(self, audited: Audited) -> None:
        device = self._device(audited.device)
        expected = next((line for line in device.audited if line.completed_at == audited.at), None)
        if expected is None:
            self._breach("audit", audited.device, 0, f"{audited.outcome}, and no line ended then")
            return
        device.audited.remove(expected)
        said = (audited.outcome, audited.transaction, audited.details)
        outcome = "successful" if expected.status == "successful" else "failed"
        if said != (outcome, expected.transaction, expected.details):
            self._breach("audit", audited.device, expected.sequence, f"the audit trail says {said}")

    def _final(self, final: Final) -> None:
        device = self._device(final.device)
        for text in walk_certificates.wrong_in_final(final):
            self._breach("certificate", final.device, 0, text)
        if device.held is None or final.key not in device.held.keys:
            self._breach("certificate", final.device, 0, f"{final.key.name} was not in the key store before")

    def end(self) -> None:
        """What must hold at the end of all."""
        for name, device in self._devices.items():
            for line in device.audited:
                self._breach("audit", name, line.sequence, "the audit trail does not tell of its end")
            if device.settings is None or device.deleted_at is not None:
                continue
            key = walk_certificates.in_use(device.held, device.settings)
            if key is None or not key.not_before <= self._at < key.not_after:
                self._breach("certificate", name, device.newest, f"no valid certificate at the end: {key}")
