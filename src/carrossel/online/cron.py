"""Cron's five fields as a trigger of APScheduler's, with cron's meaning: APScheduler 3 counts weekdays from Monday."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from apscheduler.triggers.combining import OrTrigger
from apscheduler.triggers.cron import CronTrigger

from carrossel.errors import ConfigError

if TYPE_CHECKING:
    from datetime import tzinfo

    from apscheduler.triggers.base import BaseTrigger

_WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_FIELDS = 5


def read_cron(expression: str, timezone: tzinfo) -> BaseTrigger:
    """The trigger of an expression such as `5 * * * *`: minute, hour, day of month, month, day of week.

    As in crontab(5), Sunday is 0 or 7, and where day of month and day of week are both restricted, either will do. A field is
    restricted unless it begins with `*`: `0 0 */2 * 1` is every Monday that is an odd day of the month.

    Raises:
        ConfigError: if it isn't one, or never fires.
    """
    fields = expression.split()
    if len(fields) != _FIELDS:
        raise _wrong(expression, f"it has {len(fields)} fields")
    minute, hour, day, month, weekday = fields
    try:
        rest = {"minute": minute, "hour": hour, "month": month, "timezone": timezone}
        either = not (day.startswith("*") or weekday.startswith("*"))
        days, weekdays = {"day": day}, {"day_of_week": _weekdays(weekday)}
        fields_of = (days, weekdays) if either else (days | weekdays,)
        triggers = [CronTrigger(**of, **rest) for of in fields_of]
    except ValueError as error:
        raise _wrong(expression, " ".join(str(error).split())) from None
    trigger = OrTrigger(triggers) if either else triggers[0]
    if trigger.get_next_fire_time(None, datetime(2000, 1, 1, tzinfo=timezone)) is None:
        raise _wrong(expression, "it never comes")
    return trigger


def _weekdays(field: str) -> str:
    """Each day by its name, since APScheduler knows no week that wraps."""
    if field == "*":
        return "*"
    names = []
    for part in field.lower().split(","):
        span, _, step = part.partition("/")
        first, dash, last = ("0", "-", "6") if span == "*" else span.partition("-")
        start = _weekday(first)
        count = (_weekday(last) - start) % len(_WEEKDAYS) if dash else 0
        if step and not (step.isdecimal() and int(step)):
            raise ValueError(f"{part!r} isn't a day of week")
        names += [_WEEKDAYS[(start + k) % len(_WEEKDAYS)] for k in range(0, count + 1, int(step or 1))]
    return ",".join(dict.fromkeys(names))


def _weekday(word: str) -> int:
    if word in _WEEKDAYS:
        return _WEEKDAYS.index(word)
    if word.isdecimal() and int(word) <= len(_WEEKDAYS):
        return int(word) % len(_WEEKDAYS)
    raise ValueError(f"{word!r} isn't a day of week")


def _wrong(expression: str, why: str) -> ConfigError:
    return ConfigError(
        f"--cron {expression!r}: {why}. Expected minute, hour, day of month, month and day of week, such as '5 * * * *'."
    )
